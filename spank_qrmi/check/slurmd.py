# SPDX-License-Identifier: GPL-3.0-or-later
"""The slurmd of this node: its process, when that was started, and of which release it is."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spank_qrmi.trust import proc
from spank_qrmi.trust.paths import trouble_with

_FOLDERS = ("/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/opt/slurm/sbin")
_RELEASE = re.compile(r"\b(\d{2})\.(\d{2})\b")
_VERSION_SECONDS = 5
_ROOT = 0
# In /proc/PID/stat behind the name: proc_pid_stat(5).
_START_FIELD = 19


@dataclass(frozen=True)
class Slurmd:
    """A slurmd that root runs; `started_at` in Unix seconds, `slurm_conf` if it was told one."""

    pid: int
    started_at: float
    slurm_conf: Path | None


def find_slurmds(slurm_conf: Path) -> list[Slurmd]:
    """Return the slurmds that read this slurm.conf; if none was told so, those told nothing."""
    found = list(_slurmds())
    told = [each for each in found if each.slurm_conf and _is_same(each.slurm_conf, slurm_conf)]
    return told or [each for each in found if each.slurm_conf is None]


def slurm_release(slurmds: list[Slurmd]) -> str | None:
    """Return the release of these, or else of a slurmd where it usually is, such as `24.11`.

    None if nobody tells it, or if others than root could have put that program there.
    """
    programs = [f"{proc.ROOT}/{each.pid}/exe" for each in slurmds]
    programs += [
        path
        for path in (f"{folder}/slurmd" for folder in _FOLDERS)
        if Path(path).exists() and not trouble_with([path])
    ]
    return next(filter(None, map(_release_of, programs)), None)


def _slurmds() -> Iterator[Slurmd]:
    for name in os.listdir(proc.ROOT):  # noqa: PTH208 (numbers, no paths)
        # It may end meanwhile.
        with suppress(OSError):
            if name.isdecimal() and _is_slurmd(name):
                yield Slurmd(int(name), _started_at(name), _slurm_conf_of(name))


def _is_slurmd(pid: str) -> bool:
    """Return whether a process has that name and is root's: any user may give it to his."""
    is_named = proc.read_proc(f"{pid}/comm") == b"slurmd\n"
    return is_named and Path(proc.ROOT, pid).stat().st_uid == _ROOT


def _started_at(pid: str) -> float:
    _, _, text = proc.read_proc(f"{pid}/stat").rpartition(b") ")
    ticks = int(text.split()[_START_FIELD])
    age_seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age_seconds


def _slurm_conf_of(pid: str) -> Path | None:
    words = [os.fsdecode(each) for each in proc.read_proc(f"{pid}/cmdline").split(b"\0")]
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("-f"):
            return Path(word[2:] or following)
    for variable in proc.read_proc(f"{pid}/environ").split(b"\0"):
        if variable.startswith(b"SLURM_CONF="):
            return Path(os.fsdecode(variable.partition(b"=")[2]))
    return None


def _is_same(one: Path, other: Path) -> bool:
    return one == other or one.resolve() == other.resolve()


def _release_of(program: str) -> str | None:
    try:
        printed = subprocess.run(  # noqa: S603 (root's own program, with one fixed word)
            [program, "-V"],
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_SECONDS,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _RELEASE.search(printed.decode("ascii", "replace"))
    return f"{match[1]}.{match[2]}" if match else None
