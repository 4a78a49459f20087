# SPDX-License-Identifier: GPL-3.0-or-later
"""Standard error for a command that must be able to end although nobody reads what it says."""

import io
import math
import os
import select
import time
from typing import TextIO

_POLL_MILLISECONDS = 100
_HURRIED_SECONDS = 0.5


class StandardError(io.TextIOBase):
    """Writes to a stream's descriptor, without its buffer; to nothing if there is no stream.

    It waits for a reader until half a second after `hurry` was called, in another thread maybe;
    then text that finds no room is lost, and `write` raises BlockingIOError.
    """

    def __init__(self, stream: TextIO | None) -> None:
        # A thread that waits in the buffer holds its lock, and so keeps the process from ending.
        self._descriptor = None if stream is None else stream.fileno()
        self._encoding = "ascii" if stream is None else stream.encoding
        self._waits_until = math.inf

    def hurry(self) -> None:
        """Wait no longer for somebody to read."""
        self._waits_until = time.monotonic() + _HURRIED_SECONDS

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self._descriptor is not None and os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        """Write all of the text; raise OSError if that is not possible."""
        rest = memoryview(text.encode(self._encoding, "backslashreplace"))
        while rest and self._descriptor is not None:
            self._wait_for_room(self._descriptor)
            # A pipe that has room takes so much without waiting.
            rest = rest[os.write(self._descriptor, rest[: select.PIPE_BUF]) :]
        return len(text)

    def _wait_for_room(self, descriptor: int) -> None:
        room = select.poll()
        room.register(descriptor, select.POLLOUT)
        while not room.poll(_POLL_MILLISECONDS):
            if time.monotonic() >= self._waits_until:
                raise BlockingIOError
