# SPDX-License-Identifier: GPL-3.0-or-later
"""Times that the benchmark takes from slurmd's log, also from lines that others have cut."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from benchmarks.job_figures import StepLog, milliseconds_of_release, milliseconds_to_script
from benchmarks.load import most_at_once
from loopback.cluster import SlurmCluster

LOG = """\
[2026-01-02T03:04:05.100] launch task for batch job 7
[2026-01-02T03:04:05.110] [7.batch] debug:  first
[2026-01[2026-01-02T03:04:05.115] [8.batch] debug:  first of the other
[2026-01-02T03:04:05.200] [7.batch] debug:  spank_qrmi_c(1, 0): -> slurm_spank_exit argc=1 remote=1
[2026-01-02T03:04:05.450] [7.batch] debug:  spank_qrmi_c(1,0): <- slurm_spank_exit rc=0
[2026-01-02T03:04:05.460] [7.batch] done wi"""


def test_times_of_each_job_as_the_log_grows(tmp_path: Path) -> None:
    file = tmp_path / "log" / "slurmd-n1.log"
    file.parent.mkdir()
    file.write_text(LOG)
    log = StepLog(cast(SlurmCluster, SimpleNamespace(folder=tmp_path)))
    lines = log.lines()
    assert len(lines[7]) == 3
    assert round(milliseconds_to_script(lines[7], lines[7][0].at + 0.0625), 3) == 62.5
    assert round(milliseconds_of_release(lines[7]) or 0) == 250
    assert [line.text for line in lines[8]] == ["debug:  first of the other"]
    assert milliseconds_of_release(lines[8]) is None

    file.write_text(f"{LOG}th job\n")
    lines = log.lines()
    assert (len(lines[7]), lines[7][-1].text) == (4, "done with job")


def test_most_at_once() -> None:
    assert most_at_once([0.0, 1.0, 2.0, 5.0], [2.0, 4.0, 4.0, 6.0]) == 2
