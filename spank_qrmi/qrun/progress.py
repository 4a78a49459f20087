# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user sees on stderr while `qrun` waits: a line for each change, a live one on a terminal.

Texts may come from a service: whatever could steer a terminal is masked here, and so is a secret.
"""

import io
import time

from spank_qrmi.redaction import Redactor, printable, without

_NAME = "qrun"
_ERASE_LINE = "\r\x1b[K"
_LIVE_WIDTH = 70
"""Characters of the live line, so that it never wraps."""


class Progress:
    """Writes to one stream; a stream that cannot be written to is of no consequence.

    `is_quiet` leaves out everything but errors and the service's own log.
    """

    def __init__(self, stream: io.TextIOBase, redactor: Redactor, *, is_quiet: bool) -> None:
        self._stream = stream
        self._redactor = redactor
        self._is_quiet = is_quiet
        self._is_live = not is_quiet and stream.isatty()
        self._state = ""
        self._since = time.monotonic()
        self._shows_live_line = False

    def state(self, text: str) -> None:
        """Say what is going on now, once; on a terminal, keep showing for how long."""
        if text != self._state:
            self._state = text
            self._since = time.monotonic()
            self.note(text)
        if self._is_live:
            minutes, seconds = divmod(int(time.monotonic() - self._since), 60)
            shown = self._redactor.clear(text)[:_LIVE_WIDTH]
            self._write(f"{_ERASE_LINE}{_NAME}: {shown} ({minutes}:{seconds:02})")
            self._shows_live_line = True

    def note(self, text: str) -> None:
        """Write one line unless the user wants none."""
        if not self._is_quiet:
            self.error(text)

    def error(self, text: str) -> None:
        """Write one line in any case."""
        self._clear_live_line()
        self._write(f"{_NAME}: {self._redactor.clear(text)}\n")

    def service_log(self, text: str) -> None:
        """Write the service's log, its lines as they are but for control characters and secrets."""
        self._clear_live_line()
        for line in without(self._redactor.secrets, text).splitlines():
            self._write(f"{printable(line.expandtabs())}\n")

    def _clear_live_line(self) -> None:
        if self._shows_live_line:
            self._write(_ERASE_LINE)
            self._shows_live_line = False

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # Nobody reads stderr any more; the quantum job and its result matter more.
            self._is_live = False
