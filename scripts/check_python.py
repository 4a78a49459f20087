# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse a Python that the worker cannot run with, or that others than root could replace.

Runs with the Python in question, which may be an old one: the syntax is that of 3.6.
"""

import grp
import os
import pwd
import stat
import sys
from pathlib import Path

OLDEST = (3, 10)
REMEDY = "choose another one: make PYTHON=/path/to/python3"


def trouble_with_version(version: "tuple[int, int]") -> str:
    """Return why this version of Python will not do; nothing if it will."""
    if version >= OLDEST:
        return ""
    found, needed = (".".join(map(str, numbers)) for numbers in (version, OLDEST))
    return f"Python {found} is too old: the worker needs {needed} or later; {REMEDY}"


def trouble_with_paths(*paths: Path) -> str:
    """Return which file or folder on the way to one of the paths others than root may change.

    The worker runs as root: who can replace its interpreter or its library is root as well. What
    lies in a folder where everybody may write is safe if only its owner may remove it.
    """
    for path in paths:
        for step in steps_to(path):
            writer = foreign_writer(step)
            if writer:
                return f"{step} may be changed by {writer}, and the worker runs as root; {REMEDY}"
    return ""


def steps_to(path: Path) -> "list[Path]":
    """Return the path, all folders above it, and the same of each link on the way."""
    steps = []
    for step in (path.absolute(), *path.absolute().parents):
        steps.append(step)
        if step.is_symlink():
            steps += steps_to(step.parent / step.readlink())
    return steps


def foreign_writer(path: Path) -> str:
    """Return who beside root may write to a file or folder; nothing if nobody may."""
    status = path.lstat()
    if status.st_uid != 0:
        return f"user {name_of_user(status.st_uid)}"
    if stat.S_ISLNK(status.st_mode) or status.st_mode & stat.S_ISVTX:
        return ""
    if status.st_mode & stat.S_IWOTH:
        return "everybody"
    if status.st_mode & stat.S_IWGRP and has_members(status.st_gid):
        return f"group {name_of_group(status.st_gid)}"
    return ""


def has_members(group: int) -> bool:
    """Tell whether a group has members other than root, as far as these can be listed."""
    try:
        members = grp.getgrgid(group).gr_mem
    except KeyError:
        members = []
    own = [account.pw_name for account in pwd.getpwall() if account.pw_gid == group]
    return bool({*members, *own} - {"root"})


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


def main() -> None:
    """End with one line if the Python that runs this will not do."""
    trouble = trouble_with_version(sys.version_info[:2]) or trouble_with_paths(
        Path(sys.executable), Path(os.__file__)
    )
    if trouble:
        sys.exit(f"error: {sys.executable}: {trouble}")


if __name__ == "__main__":
    main()
