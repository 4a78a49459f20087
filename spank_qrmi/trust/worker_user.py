# SPDX-License-Identifier: GPL-3.0-or-later
"""The user that makes the requests to vendors' services: `--worker-user` in plugstack.conf."""

import pwd
import re

from spank_qrmi.errors import ArgumentError
from spank_qrmi.numbers_in_text import parse_number

NOBODY = 65534
"""User and group that own nothing, by convention on every Linux."""

LARGEST_ID = 2**32 - 2
"""Of users and groups: the one above means "unchanged" to the kernel."""

_NAME = r"[A-Za-z_][A-Za-z0-9_.@-]{0,255}\$?"


DEFAULT_WORKER_USER = str(NOBODY)


def parse_worker_user(option: str, text: str) -> str:
    """Check an option's value; raise ArgumentError if it can be no user, or is root.

    It is looked up only when it is needed.
    """
    if text == "root" or not (parse_number(text, LARGEST_ID) or re.fullmatch(_NAME, text)):
        raise ArgumentError(
            f"{option} must be the name or number of a user other than root, got {text[:40]!r}"
        )
    return text


def ids_of(user: str) -> tuple[int, int]:
    """Return a user's number and main group; a number is not looked up, its group is nobody's.

    Raises ArgumentError if no such user is known, or if it is root or in its group. A name is asked
    of the node's name services, which may take long.
    """
    if user.isdigit():
        return int(user), NOBODY
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise ArgumentError(
            f"--worker-user={user}: this node knows no such user: add it, or name another"
        ) from None
    if account.pw_uid == 0 or account.pw_gid == 0:
        raise ArgumentError(f"--worker-user={user}: is root, or in its group: name another user")
    return account.pw_uid, account.pw_gid
