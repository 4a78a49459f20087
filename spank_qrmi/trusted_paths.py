# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether others than root may change a file, or put another one in its place.

Also runs with the Python that an installation is given, which may be an old one
(scripts/check_python.py): the syntax is that of 3.6.
"""

import grp
import os
import pwd
import stat
from pathlib import Path


def trouble_with(paths: "list[Path]") -> str:
    """Return which file or folder on the way to one of the paths others may change, and who.

    Nothing if there is none. What lies in a folder where everybody may write is safe if only its
    owner may remove it.
    """
    for step in dict.fromkeys(step for path in paths for step in steps_to(path)):
        trouble = _told(step, foreign_writer(step))
        if trouble:
            return trouble
    return ""


def trouble_at(path: str) -> str:
    """Return who else may change this file, or add to this folder; nothing if nobody may."""
    return _told(path, _writer_by(os.stat(path)))  # noqa: PTH116 (there are hundreds)


def _told(path: object, writer: str) -> str:
    return f"{path} may be changed by {writer}, and the worker runs as root" if writer else ""


def steps_to(path: Path) -> "list[Path]":
    """Return the path, all folders above it, and the same of each link on the way."""
    steps = []
    for step in (path.absolute(), *path.absolute().parents):
        steps.append(step)
        if step.is_symlink():
            steps += steps_to(step.parent / os.readlink(str(step)))  # noqa: PTH115 (see above)
    return steps


def foreign_writer(step: Path) -> str:
    """Return who beside root may replace what a step leads to, and by which mode; empty if nobody.

    Root's group counts as root. Who is in another one, or will be, cannot be known: a directory
    service need not list members.
    """
    status = step.lstat()
    is_kept = stat.S_ISLNK(status.st_mode) or status.st_mode & stat.S_ISVTX
    return "" if is_kept and status.st_uid == 0 else _writer_by(status)


def _writer_by(status: os.stat_result) -> str:
    if status.st_uid != 0:
        return f"user {name_of_user(status.st_uid)}"
    mode = f"(mode {stat.S_IMODE(status.st_mode):04o})"
    if status.st_mode & stat.S_IWOTH:
        return f"everybody {mode}"
    if status.st_mode & stat.S_IWGRP and status.st_gid != 0:
        return f"group {name_of_group(status.st_gid)} {mode}"
    return ""


def name_of_user(user: int) -> str:
    """Return a user's name, or its number if it has none."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def name_of_group(group: int) -> str:
    """Return a group's name, or its number if it has none."""
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
