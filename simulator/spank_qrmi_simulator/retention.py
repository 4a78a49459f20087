# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site that runs for long forgets: the oldest of what has ended."""

from collections.abc import Callable
from typing import TypeVar

REMEMBERED = 1000
"""Ended sessions, jobs or batches that can still be asked for."""

Thing = TypeVar("Thing")


def surplus(things: dict[str, Thing], has_ended: Callable[[Thing], bool]) -> list[str]:
    """Return the ids of those that can be forgotten, oldest first; `things` are in that order."""
    ended = [name for name, thing in things.items() if has_ended(thing)]
    return ended[: max(0, len(ended) - REMEMBERED)]
