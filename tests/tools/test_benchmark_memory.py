# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a process's memory the benchmark counts as its own, and what workers hold together."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.memory import Workers, own_kb, resident_kb

PAGES = 1000
BLOCK_KB = 50_000
PROGRAM = f"""
import os, time
block = b"x" * {BLOCK_KB * 1024}
os.fork()
os.fork()
time.sleep(1)
"""


def test_own_memory_is_what_was_written(tmp_path: Path) -> None:
    """A file that was written a moment ago is no memory of whoever maps it."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * PAGES * mmap.PAGESIZE)
    size_kb = PAGES * mmap.PAGESIZE // 1024
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, mmap.MAP_PRIVATE) as mapped:
        before_kb = own_kb(os.getpid())
        for page in range(PAGES):
            mapped[page * mmap.PAGESIZE]
        read_kb = own_kb(os.getpid())
        for page in range(PAGES):
            mapped[page * mmap.PAGESIZE] = 0
        written_kb = own_kb(os.getpid())
        assert written_kb <= resident_kb(os.getpid())
    assert read_kb - before_kb < size_kb // 2
    assert written_kb - read_kb > size_kb // 2


def test_memory_of_workers_counts_once_however_many_share_it(tmp_path: Path) -> None:
    """A program writes a block, and forks three others, which only share it."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    peak_kb = Workers(tmp_path).peak_kb(
        lambda: subprocess.run([sys.executable, program], check=True)
    )
    assert BLOCK_KB < peak_kb < 2 * BLOCK_KB
