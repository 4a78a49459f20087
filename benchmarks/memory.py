# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process holds of the machine's memory, and what workers and their server hold together."""

import contextlib
import re
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from loopback.processes import PROC, processes_naming


def resident_kb(pid: int) -> int:
    """Return all resident memory of a process."""
    return _sizes_kb(pid)["Rss"]


def own_kb(pid: int) -> int:
    """Return the resident memory that a process has written.

    What it has only read of a file that was written a moment ago counts as dirty, but not here.
    """
    return _sizes_kb(pid)["Anonymous"]


@dataclass(frozen=True)
class Workers:
    """All processes whose command line names the folder of their program, but some."""

    folder: Path
    but: Set[int] = frozenset()

    def pids(self) -> Set[int]:
        """Return their process ids."""
        return processes_naming(str(self.folder)).keys() - self.but

    def held_kb(self) -> int:
        """Return the sum of their Pss, where a page that several processes share counts once."""
        while True:
            pids = self.pids()
            # Each may end at any time.
            with contextlib.suppress(OSError, KeyError):
                held_kb = sum(_sizes_kb(pid)["Pss"] for pid in pids)
                # One that begins or ends changes what the others share, between two looks.
                if pids == self.pids():
                    return held_kb

    def peak_kb(self, work: Callable[[], object]) -> int:
        """Do some work, and return the most that they held meanwhile."""
        peak_kb = 0
        with ThreadPoolExecutor(max_workers=1) as pool:
            done = pool.submit(work)
            while not done.done():
                peak_kb = max(peak_kb, self.held_kb())
        done.result()
        return peak_kb


def _sizes_kb(pid: int) -> dict[str, int]:
    text = (PROC / str(pid) / "smaps_rollup").read_text()
    return {name: int(size) for name, size in re.findall(r"(?m)^(\w+):\s+(\d+) kB", text)}
