# SPDX-License-Identifier: GPL-3.0-or-later
"""One moment by which a whole piece of work must end, shared by everything that waits within it."""

import copy
import threading
import time
from collections.abc import Callable


class Deadline:
    """A moment on the monotonic clock that every wait within one piece of work respects.

    `cancel` ends all waits at once, from any thread.
    """

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._cancelled = threading.Event()
        self._followers: list[Callable[[], None]] = []
        self._following = threading.Lock()

    def within(self, seconds: float) -> "Deadline":
        """Return a deadline for a part of the work: at most so long, and cancelled with it."""
        part = copy.copy(self)
        part._ends_at = min(self._ends_at, time.monotonic() + seconds)
        return part

    def remaining_seconds(self) -> float:
        """Return the seconds left, 0.0 once the moment has passed or the work was cancelled."""
        if self._cancelled.is_set():
            return 0.0
        return max(0.0, self._ends_at - time.monotonic())

    def has_passed(self) -> bool:
        """Return whether no time is left."""
        return self.remaining_seconds() == 0.0

    def wait(self, seconds: float) -> bool:
        """Wait so long if that ends before the deadline; return False at once if it would not."""
        if seconds >= self.remaining_seconds():
            return False
        return not self._cancelled.wait(seconds)

    def is_cancelled(self) -> bool:
        """Return whether the work was cancelled, whatever time was left."""
        return self._cancelled.is_set()

    def when_cancelled(self, call: Callable[[], None]) -> None:
        """Have `call` called once the work is cancelled, from the thread that does it."""
        with self._following:
            if not self._cancelled.is_set():
                self._followers.append(call)
                return
        call()

    def cancel(self) -> None:
        """Let the deadline pass now."""
        with self._following:
            self._cancelled.set()
            followers, self._followers = self._followers, []
        for call in followers:
            call()
