# SPDX-License-Identifier: GPL-3.0-or-later
"""One moment by which a whole piece of work must end, shared by everything that waits within it."""

import threading
import time


class Deadline:
    """A moment on the monotonic clock that every wait within one piece of work respects.

    `cancel` ends all waits at once, from any thread.
    """

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._cancelled = threading.Event()

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

    def cancel(self) -> None:
        """Let the deadline pass now."""
        self._cancelled.set()
