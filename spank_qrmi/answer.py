# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's answer as it is written: log records at once, the rest in order, one verdict last.

Everything readable passes the redactor here, so that no secret and no control character leaves the
worker except as the value of a variable.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator

from spank_qrmi.protocol import VERSION, AnswerTag, Verdict, encode_record, preamble
from spank_qrmi.redaction import Redactor

MAX_LINE_LENGTH = 2000
MOST_MESSAGES = 8
_LEFT_OUT = " … "
_PACKAGE = "spank_qrmi"
_LEVELS_OF_SLURM = {
    logging.DEBUG: b"d",
    logging.INFO: b"i",
    logging.WARNING: b"i",
    logging.ERROR: b"e",
}


class AnswerWriter:
    """Writes one answer; `send` takes bytes and blocks until the plugin has them.

    `version` is to be set to the request's before anything is written.
    """

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send
        self._has_begun = False
        self._has_ended = False
        self._told: set[bytes] = set()
        self._message_count = 0
        # A thread left behind at the deadline may log while the answer goes on, or ends.
        self._sending = threading.Lock()
        self.redactor = Redactor()
        self.version = VERSION

    def log(self, level: int, text: str) -> None:
        """Send one line of a level of `logging`, a warning or error only once.

        Nothing is sent after the end of the answer.
        """
        # Slurm has no level for warnings.
        line = f"warning: {text}" if level == logging.WARNING else text
        record = _LEVELS_OF_SLURM[level] + self._line(line)
        if level >= logging.WARNING:
            # Two looks at the journal meet the same trouble.
            if record in self._told:
                return
            self._told.add(record)
        self._send_record(AnswerTag.LOG, record)

    def send_message(self, text: str) -> None:
        """Send one line for the job's own output, or to the log alone if that has many."""
        self._message_count += 1
        if self._message_count > MOST_MESSAGES:
            self.log(logging.INFO, text)
        else:
            self._send_record(AnswerTag.MESSAGE, self._line(text))

    def send_variables(self, variables: Iterable[tuple[str, str]]) -> None:
        """Send variables for the job's environment; raises ProtocolError for what cannot be one."""
        for name, value in variables:
            pair = f"{name}={value}".encode("utf-8", "surrogateescape")
            self._send_record(AnswerTag.VARIABLE, pair)

    def end(self, verdict: Verdict, left_count: int = 0, conclusion: str = "") -> None:
        """Send the last line for the job's own output, if there is one, which is never left out.

        Then how much is left at services for later, the verdict and the end.
        """
        more = self._message_count - MOST_MESSAGES
        lines = [f"and {more} more: slurmd's log has them at info level"] if more > 0 else []
        for line in filter(None, (*lines, conclusion)):
            self._send_record(AnswerTag.MESSAGE, self._line(line))
        self._send_record(AnswerTag.LEFT, str(left_count).encode())
        self._send_record(AnswerTag.VERDICT, verdict.value.encode())
        self._send_record(AnswerTag.END, b"")

    def _line(self, text: str) -> bytes:
        line = self.redactor.clear(text)
        if len(line) > MAX_LINE_LENGTH:
            # Its beginning says what it is about, its end what came of that or is to be done.
            half = (MAX_LINE_LENGTH - len(_LEFT_OUT)) // 2
            line = line[:half] + _LEFT_OUT + line[-half:]
        return line.encode("utf-8", "replace")

    def _send_record(self, tag: AnswerTag, payload: bytes) -> None:
        data = encode_record(tag, payload)
        with self._sending:
            if self._has_ended:
                return
            if not self._has_begun:
                self._has_begun = True
                data = preamble(self.version) + data
            self._has_ended = tag is AnswerTag.END
            try:
                self._send(data)
            except OSError:
                # slurmstepd is gone; what was acquired must be given back with nobody listening.
                self._has_ended = True


class _LineHandler(logging.Handler):
    """Hands on the level and the line of each record; what fails with that fails for who logs."""

    def __init__(self, tell: Callable[[int, str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on one record."""
        self._tell(record.levelno, record.getMessage())


@contextlib.contextmanager
def logging_to(tell: Callable[[int, str], None]) -> Iterator[None]:
    """Have every line that the package logs told here alone, with its level, from any thread."""
    logger = logging.getLogger(_PACKAGE)
    level, propagate = logger.level, logger.propagate
    handler = _LineHandler(tell)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
