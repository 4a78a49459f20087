# SPDX-License-Identifier: GPL-3.0-or-later
"""Times that the benchmark takes from slurmd's log, also from lines that others have cut."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from benchmarks.job_figures import LogLine, StepLog, milliseconds_of_release, milliseconds_to_script
from benchmarks.load import most_at_once
from loopback.cluster import SlurmCluster

LOG = """\
[2026-01-02T03:04:05.100] launch task for batch job 7
[2026-01-02T03:04:05.110] [7.batch] debug:  first
[2026-01[2026-01-02T03:04:05.115] [8.batch] debug:  first of the other
[2026-01-02T03:04:05.200] [7.batch] debug:  spank_qrmi_c(1, 0): -> slurm_spank_exit argc=1 remote=1
[2026-01-02T03:04:05.450] [7.batch] debug:  spank_qrmi_c(1,0): <- slurm_spank_exit rc=0
[2026-01-02T03:04:05.460] [7.batch] done wi"""


def step_log(folder: Path, text: str) -> StepLog:
    (folder / "log").mkdir(exist_ok=True)
    (folder / "log" / "slurmd-n1.log").write_text(text)

    class Cluster:
        def __init__(self) -> None:
            self.folder = folder

    return StepLog(cast(SlurmCluster, Cluster()))


def texts(lines: Sequence[LogLine]) -> list[str]:
    return [line.text for line in lines]


def test_lines_of_each_job_as_the_log_grows(tmp_path: Path) -> None:
    log = step_log(tmp_path, LOG)
    assert len(log.lines()[7]) == 3
    assert texts(log.lines()[8]) == ["debug:  first of the other"]
    step_log(tmp_path, LOG + "th job\n")
    assert texts(log.lines()[7])[-1] == "done with job"


def test_times(tmp_path: Path) -> None:
    lines = step_log(tmp_path, LOG).lines()
    assert round(milliseconds_to_script(lines[7], lines[7][0].at + 0.0625), 3) == 62.5
    assert round(milliseconds_of_release(lines[7]) or 0) == 250
    assert milliseconds_of_release(lines[8]) is None


def test_most_at_once() -> None:
    assert most_at_once([0.0, 1.0, 2.0, 5.0], [2.0, 4.0, 4.0, 6.0]) == 2
