# SPDX-License-Identifier: GPL-3.0-or-later
"""How the benchmark measures: times in slurmd's log, memory, and what samples of them say."""

import mmap
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from benchmarks.job_figures import StepLog, milliseconds_of_release, milliseconds_to_script
from benchmarks.load import most_at_once
from benchmarks.memory import Workers, own_kb, resident_kb
from benchmarks.samples import Spread, median, percentile, ratio, spread
from loopback.cluster import SlurmCluster

# Others have cut its lines.
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


def test_own_memory_is_what_was_written(tmp_path: Path) -> None:
    """A file that was written a moment ago is no memory of whoever maps it."""
    file, pages = tmp_path / "file", 1000
    file.write_bytes(b"x" * pages * mmap.PAGESIZE)
    size_kb = pages * mmap.PAGESIZE // 1024
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, mmap.MAP_PRIVATE) as mapped:
        before_kb = own_kb(os.getpid())
        for page in range(pages):
            mapped[page * mmap.PAGESIZE]
        read_kb = own_kb(os.getpid())
        for page in range(pages):
            mapped[page * mmap.PAGESIZE] = 0
        written_kb = own_kb(os.getpid())
        assert written_kb <= resident_kb(os.getpid())
    assert read_kb - before_kb < size_kb // 2
    assert written_kb - read_kb > size_kb // 2


def test_memory_of_workers_counts_once_however_many_share_it(tmp_path: Path) -> None:
    """A program writes a block, and forks three others, which only share it."""
    block_kb = 50_000
    program = tmp_path / "program.py"
    program.write_text(f"""
import os, time
block = b"x" * {block_kb * 1024}
os.fork()
os.fork()
time.sleep(1)
""")
    peak_kb = Workers(tmp_path).peak_kb(
        lambda: subprocess.run([sys.executable, program], check=True)
    )
    assert block_kb < peak_kb < 2 * block_kb


def test_spread_and_percentiles() -> None:
    assert spread([5, 1, 2, 4, 3]) == Spread(2, 3, 4, 5)
    assert spread([7.0]) == Spread(7, 7, 7, 1)
    with pytest.raises(ValueError, match="no samples"):
        spread([])
    samples = list(range(101))
    assert [percentile(samples, each) for each in (1, 50, 99)] == [1, 50, 99]


def test_interval_holds_the_median_and_is_the_same_again() -> None:
    samples = [float(each) for each in range(30)]
    found = median(samples)
    assert found.low < found.value == 14.5 < found.high
    assert found == median(samples)


def test_intervals_hold_the_truth_about_as_often_as_they_claim() -> None:
    draw = random.Random(2)

    def holds() -> bool:
        slower = [draw.gauss(110, 10) for _ in range(30)]
        found = ratio(slower, [draw.gauss(100, 10) for _ in range(30)])
        return found.low <= 1.1 <= found.high

    # One that always holds it is too wide.
    assert 0.85 <= sum(holds() for _ in range(100)) / 100 < 1
