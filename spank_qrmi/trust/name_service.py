# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of users and groups, as this node's name services know them.

A directory service may hang, and what asks it reads the network. So getent(1) asks, as nobody and
with nothing of ours in its memory, and it is ended in time.
"""

import contextlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import NameServiceError
from spank_qrmi.numbers_in_text import parse_number
from spank_qrmi.trust.worker_user import LARGEST_ID, NOBODY

LOOK_UP_SECONDS = 10.0

_GETENT = "/usr/bin/getent"
# getent(1): all names are known, or not all of them.
_ANSWERED = frozenset({0, 2})
_REAP_SECONDS = 1.0


class Kind(str, Enum):
    """What can be looked up, by the name of its database in nsswitch.conf."""

    USER = "passwd"
    GROUP = "group"


@dataclass(frozen=True)
class Found:
    """The numbers of names; `is_complete` says whether each name has one."""

    ids: frozenset[int]
    is_complete: bool


class NameService:
    """Looks names up, each list of them once, at most LOOK_UP_SECONDS and within a deadline."""

    def __init__(self, deadline: Deadline) -> None:
        # Else one directory service that hangs takes all the time that there is.
        seconds = min(LOOK_UP_SECONDS, deadline.remaining_seconds() / 2)
        self._deadline = deadline.within(seconds)
        self._found: dict[tuple[Kind, tuple[str, ...]], Found] = {}

    def ids_of(self, kind: Kind, names: Sequence[str]) -> Found:
        """Return the numbers of users or groups; a text of digits is a number already.

        Raises NameServiceError if that cannot be found out in time.
        """
        numbers = frozenset(number for name in names if (number := number_of(name)) is not None)
        unknown = tuple(name for name in names if number_of(name) is None)
        if not unknown:
            return Found(numbers, is_complete=True)
        found = self._look_up(kind, unknown)
        return Found(found.ids | numbers, found.is_complete)

    def _look_up(self, kind: Kind, names: tuple[str, ...]) -> Found:
        if (kind, names) not in self._found:
            self._found[kind, names] = _ask_getent(kind, names, self._deadline)
        return self._found[kind, names]


def number_of(name: str) -> int | None:
    """Return the number that a user or group is named by, None for a name."""
    return parse_number(name, LARGEST_ID)


def _ask_getent(kind: Kind, names: Sequence[str], deadline: Deadline) -> Found:
    identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    if deadline.has_passed():
        raise NameServiceError(_late_text(kind))
    try:
        process = subprocess.Popen(  # noqa: S603 (names are checked, and stand behind --)
            [_GETENT, kind.value, "--", *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"LC_ALL": "C"},
            **identity,  # type: ignore[call-overload]
        )
    except OSError as error:
        problem = f"{_GETENT} cannot be started ({error.strerror})"
        raise NameServiceError(f"this node cannot look {_plural(kind)} up: {problem}") from error
    deadline.when_cancelled(process.kill)
    try:
        output, _ = process.communicate(timeout=deadline.remaining_seconds())
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_REAP_SECONDS)
        raise NameServiceError(_late_text(kind)) from None
    if process.returncode not in _ANSWERED:
        problem = f"{_GETENT} ended with status {process.returncode}"
        raise NameServiceError(f"this node cannot look {_plural(kind)} up: {problem}")
    return Found(_ids_in(output.decode("utf-8", "replace")), process.returncode == 0)


def _ids_in(output: str) -> frozenset[int]:
    """Return the third field of each line, as passwd(5) and group(5) have the number there."""
    fields = (line.split(":") for line in output.splitlines())
    numbers = (number_of(each[2]) for each in fields if len(each) > 2)  # noqa: PLR2004
    return frozenset(number for number in numbers if number is not None)


def _late_text(kind: Kind) -> str:
    return f"this node's name services did not tell its {_plural(kind)} in time"


def _plural(kind: Kind) -> str:
    return f"{kind.name.lower()}s"
