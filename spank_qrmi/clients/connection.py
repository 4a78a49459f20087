# SPDX-License-Identifier: GPL-3.0-or-later
"""One TCP connection, and one exchange after the other on it."""

import contextlib
import select
import socket
import time
from collections.abc import Iterator, Mapping

from spank_qrmi.clients.http1 import (
    IncomingAnswer,
    MalformedError,
    UnsendableError,
    encoded_request,
)
from spank_qrmi.clients.transport import (
    AnswerTimeoutError,
    BrokenConnectionError,
    ConnectError,
    ConnectTimeoutError,
    Limits,
    NoAnswerError,
    NotSentError,
)
from spank_qrmi.redaction import printable

_READ_BYTES = 64 * 1024


def connect(host: str, port: int, limits: Limits) -> socket.socket:
    """Return a socket that is connected to the first of the host's addresses that answers.

    Each has its part of the time. Raises ConnectError, ConnectTimeoutError.
    """
    ends_at = time.monotonic() + seconds_to_connect(limits)
    try:
        # As text the host would be encoded once more, by a codec that would have to be imported.
        found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConnectError(reason_of(error)) from error
    failure: OSError | None = None
    for index, (family, kind, protocol, _, address) in enumerate(found):
        seconds = (ends_at - time.monotonic()) / (len(found) - index)
        if seconds <= 0:
            break
        stream = None
        try:
            stream = socket.socket(family, kind, protocol)
            stream.settimeout(seconds)
            stream.connect(address)
            # What is sent next is whole: nothing is to be gained by waiting for more.
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            if stream is not None:
                stream.close()
            failure = error
        else:
            return stream
    if failure is None or isinstance(failure, TimeoutError):
        raise ConnectTimeoutError from failure
    raise ConnectError(reason_of(failure)) from failure


def seconds_to_connect(limits: Limits) -> float:
    """Return how long to wait; raise ConnectTimeoutError if the time is over."""
    try:
        return limits.next_seconds()
    except TimeoutError as error:
        raise ConnectTimeoutError from error


def reason_of(error: OSError) -> str:
    """Return the operating system's reason as the end of a sentence, or nothing."""
    reason = error.strerror or ""
    return printable(reason[:1].lower() + reason[1:])


class Connection:
    """A connection that takes one exchange at a time."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self._answer: IncomingAnswer | None = None
        self._has_heard = False

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        content: bytes | None,
        limits: Limits,
    ) -> IncomingAnswer:
        """Send a request and return its answer, whose body is read by `pieces_of`.

        Raises AnswerTimeoutError, BrokenConnectionError; NotSentError if it is no HTTP.
        """
        self._answer = None
        self._has_heard = False
        was_sent = self._send(method, target, headers, content, limits)
        with _as_broken():
            answer = IncomingAnswer(method, lambda: self._received(limits))
        # What did not arrive whole may have been answered, but nothing can follow it.
        self._answer = answer if was_sent else None
        return answer

    def has_unread_bytes(self) -> bool:
        """Return whether something was received that belongs to no answer so far."""
        return self._answer is not None and self._answer.has_more()

    def may_be_used_again(self) -> bool:
        """Return whether the exchange ended so that another may follow."""
        return self._answer is not None and self._answer.may_be_followed()

    def is_quiet(self) -> bool:
        """Return whether it still stands and nothing came: a byte now would be no answer of ours.

        It is False once the service has hung up.
        """
        waiting = select.poll()
        waiting.register(self.stream, select.POLLIN)
        return not waiting.poll(0)

    def close(self) -> None:
        """Hang up."""
        self.stream.close()

    def _send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        content: bytes | None,
        limits: Limits,
    ) -> bool:
        """Return whether all of it was sent; the answer tells what became of a part of it."""
        try:
            request = encoded_request(method, target, headers, content)
        except UnsendableError as error:
            raise NotSentError from error
        try:
            self.stream.settimeout(limits.next_seconds())
            self.stream.sendall(request)
        except TimeoutError as error:
            raise AnswerTimeoutError from error
        except OSError:
            return False
        return True

    def _received(self, limits: Limits) -> bytes:
        """Return what has come, nothing once the service has hung up."""
        try:
            self.stream.settimeout(limits.next_seconds())
            received = self.stream.recv(_READ_BYTES)
        except TimeoutError as error:
            raise AnswerTimeoutError from error
        except OSError as error:
            raise (BrokenConnectionError if self._has_heard else NoAnswerError) from error
        if not received and not self._has_heard:
            raise NoAnswerError
        self._has_heard = True
        return received


def pieces_of(answer: IncomingAnswer) -> Iterator[bytes]:
    """Return the pieces of an answer's body; raises as `Connection.ask` does."""
    with _as_broken():
        yield from answer.body()


@contextlib.contextmanager
def _as_broken() -> Iterator[None]:
    try:
        yield
    except MalformedError as error:
        raise BrokenConnectionError from error
