# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process an acquisition belongs to, told so that its end is noticed without asking Slurm.

A process id alone names another process sooner or later: with the boot and the moment of its start
it names one for ever (proc(5), proc_pid_stat(5)).
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from spank_qrmi.trust import proc
from spank_qrmi.trust.proc import read_proc

# In /proc/PID/stat behind the name, which may itself hold spaces and parentheses.
_STATE_FIELD = 0
_START_FIELD = 19
_ENDED_STATES = (b"Z", b"X")

# As the first process sees it: a container of systemd's has a boot of its own by a mount, which is
# missing in the fresh /proc that a service in there may have. Else as this process does.
_BOOT_IDS = ("1/root/proc/sys/kernel/random/boot_id", "sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Owner:
    """One process of one boot; `started_ticks` counts clock ticks from there, 0 if it was gone."""

    host: str
    boot_id: str
    pid_namespace: int
    pid: int
    started_ticks: int


def owner_of(pid: int) -> Owner:
    """Return the process `pid` as an owner."""
    return Owner(_host(), boot_id(), _pid_namespace(), pid, _started_ticks(pid))


def is_elsewhere(owner: Owner) -> bool:
    """Return whether it is a process of another node: nodes may share a folder."""
    return owner.host != _host()


def is_gone(owner: Owner) -> bool:
    """Return whether the process has certainly ended; what cannot be told counts as alive."""
    this_boot_id = boot_id()
    if is_elsewhere(owner) or not (this_boot_id and owner.boot_id):
        return False
    if this_boot_id != owner.boot_id:
        return True
    # In another namespace the number means another process, and /proc may hide those of others.
    is_visible = owner.pid_namespace == _pid_namespace() and _started_ticks(1) != 0
    return is_visible and _started_ticks(owner.pid) != max(1, owner.started_ticks)


def is_unknowable(owner: Owner) -> bool:
    """Return whether nobody here can tell before the next boot whether the process has ended."""
    is_of_this_boot = not is_elsewhere(owner) and boot_id() in {owner.boot_id, ""}
    return is_of_this_boot and owner.pid_namespace != _pid_namespace()


def _host() -> str:
    return os.uname().nodename


def boot_id() -> str:
    """Return what names this boot of the node, nothing if it is not told."""
    for name in _BOOT_IDS:
        with contextlib.suppress(OSError):
            return read_proc(name).decode().strip()
    return ""


def _pid_namespace() -> int:
    try:
        return Path(proc.ROOT, "self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _started_ticks(pid: int) -> int:
    """Return when the process started, at least 1; 0 if there is none or it has ended."""
    try:
        _, _, text = read_proc(f"{pid}/stat").rpartition(b") ")
    except OSError:
        return 0
    fields = text.split()
    if len(fields) <= _START_FIELD or fields[_STATE_FIELD] in _ENDED_STATES:
        return 0
    return max(1, int(fields[_START_FIELD]))
