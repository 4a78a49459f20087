# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether others than root may change a file, or put another one in its place.

Also runs with the Python that an installation is given, which may be an old one
(scripts/check_python.py): the syntax is that of 3.6.
"""

import grp
import os
import pwd
import stat
from collections.abc import Iterable
from os import lstat
from pathlib import Path


def trouble_with(paths: "Iterable[str | os.PathLike[str]]") -> str:
    """Return which file or folder on the way to one of the paths others may change, and who.

    Nothing if there is none. What lies in a folder where everybody may write is safe if only its
    owner may remove it.
    """
    steps: dict[str, os.stat_result] = {}
    for path in paths:
        steps_to(os.fspath(path), steps)
    for step, status in steps.items():
        trouble = _trouble_text(step, foreign_writer(status))
        if trouble:
            return trouble
    return ""


def trouble_at(path: str) -> str:
    """Return who else may change this file, or add to this folder; nothing if nobody may.

    Of a link it is what it leads to, and the way there too; of what is missing, nothing.
    """
    try:
        status = lstat(path)
        if not stat.S_ISLNK(status.st_mode):
            return _trouble_text(path, _writer_by(status))
        return trouble_with([path]) or _trouble_text(path, _writer_by(Path(path).stat()))
    except FileNotFoundError:
        return ""


def _trouble_text(path: str, writer: str) -> str:
    return f"{path} may be changed by {writer}, and the worker runs as root" if writer else ""


def steps_to(
    path: str, steps: "dict[str, os.stat_result] | None" = None
) -> "dict[str, os.stat_result]":
    """Return the path, all folders above it, and the same of each link on the way, with statuses.

    They are added to `steps`; what that holds has been looked at.
    """
    steps = {} if steps is None else steps
    # The current folder may be gone.
    step = Path(path) if path.startswith("/") else Path.cwd() / path
    while str(step) not in steps:
        steps[str(step)] = status = lstat(str(step))
        if stat.S_ISLNK(status.st_mode):
            steps_to(str(step.parent / os.readlink(str(step))), steps)  # noqa: PTH115 (not in 3.6)
        step = step.parent
    return steps


def foreign_writer(status: os.stat_result) -> str:
    """Return who beside root may replace what a step leads to, and by which mode; empty if nobody.

    Root's group counts as root. Who is in another one, or will be, cannot be known: a directory
    service need not list members.
    """
    is_kept = stat.S_ISLNK(status.st_mode) or status.st_mode & stat.S_ISVTX
    return "" if is_kept and status.st_uid == 0 else _writer_by(status)


def _writer_by(status: os.stat_result) -> str:
    if status.st_uid != 0:
        return f"user {name_of_user(status.st_uid)}"
    if not status.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
        return ""
    mode = f"(mode {stat.S_IMODE(status.st_mode):04o})"
    if status.st_mode & stat.S_IWOTH:
        return f"everybody {mode}"
    if status.st_mode & stat.S_IWGRP and status.st_gid != 0:
        return f"group {name_of_group(status.st_gid)} {mode}"
    return ""


def name_of_user(user: int) -> str:
    """Return a user's name, or its number if it has none or can be none's."""
    try:
        return pwd.getpwuid(user).pw_name
    except (KeyError, OverflowError):
        return str(user)


def name_of_group(group: int) -> str:
    """Return a group's name, or its number if it has none."""
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
