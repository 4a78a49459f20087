# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that waits: polling with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

from loopback.errors import WaitTimeoutError

Value = TypeVar("Value")

FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.1


def wait_until(
    predicate: Callable[[], Value],
    timeout_seconds: float,
    what: str,
    *,
    accept: Callable[[Value], object] = bool,
) -> Value:
    """Return the predicate's first value that is true, or that `accept` finds good.

    Raises WaitTimeoutError, which says `what` was waited for and the last value.
    """
    deadline = time.monotonic() + timeout_seconds
    pause_seconds = FIRST_PAUSE_SECONDS
    while True:
        value = predicate()
        if accept(value):
            return value
        if time.monotonic() >= deadline:
            message = f"no {what} within {timeout_seconds:g} s; last seen: {value!r}"
            raise WaitTimeoutError(message)
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, LONGEST_PAUSE_SECONDS)
