# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a process's memory the benchmark counts as its own."""

import mmap
import os
from pathlib import Path

from benchmarks.job_figures import own_kb, resident_kb

PAGES = 1000


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
