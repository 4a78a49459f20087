# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a process's mappings the benchmark counts as its own."""

import os
from pathlib import Path

from benchmarks.job_figures import maps_of, own_kb_of, resident_kb

MAPS = """\
7f0000000000-7f0000005000 r-xp 00000000 08:01 17    /opt/bench/lib64/slurm/plugin.so
Rss:                  20 kB
Private_Dirty:         4 kB
7f0000005000-7f0000805000 r--p 00000000 08:01 18    /opt/benchmark/libc.so.6
Rss:                1600 kB
Private_Clean:         8 kB
Private_Dirty:        12 kB
55d000000000-55d000100000 rw-p 00000000 00:00 0     [heap]
Rss:                 540 kB
Private_Dirty:       500 kB
VmFlags: rd wr mr mw me ac
"""


def test_own_memory_is_what_was_written_and_the_plugins_files() -> None:
    assert own_kb_of(MAPS, Path("/opt/bench")) == 20 + 12 + 500
    assert own_kb_of(MAPS, Path("/elsewhere")) == 4 + 12 + 500


def test_own_memory_is_part_of_the_resident_one() -> None:
    own_kb = own_kb_of(maps_of(os.getpid()), Path("/nonexistent"))
    assert 0 < own_kb <= resident_kb(os.getpid())
