# SPDX-License-Identifier: GPL-3.0-or-later
"""One TCP connection, and one exchange after the other on it. h11 reads and writes HTTP."""

import select
import socket
import time
from collections.abc import Iterator, Mapping

import h11

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

HEAD_LIMIT_BYTES = 64 * 1024
"""Longest status line with headers, trailers, or line before a chunk that is waited for."""

_READ_BYTES = 64 * 1024
_CONTENT_IS_EXPECTED = frozenset({"POST", "PUT", "PATCH"})


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
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT_BYTES)
        self._has_heard = False

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        content: bytes | None,
        limits: Limits,
    ) -> tuple[int, dict[str, str]]:
        """Send a request and return the status and the headers of its answer.

        Names of headers become lower case, and values of the same name are joined by commas.
        Raises AnswerTimeoutError, BrokenConnectionError; NotSentError if it is no HTTP.
        """
        sent = self._encoded(method, target, headers, content)
        self._has_heard = False
        try:
            self.stream.settimeout(limits.next_seconds())
            self.stream.sendall(sent)
        except TimeoutError as error:
            raise AnswerTimeoutError from error
        except OSError:
            # It may have answered before it hung up; if not, reading fails.
            pass
        while not isinstance(event := self._next_event(limits), h11.Response):
            continue
        joined: dict[str, str] = {}
        for raw_name, raw_value in event.headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("utf-8", "replace")
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return event.status_code, joined

    def body(self, limits: Limits) -> Iterator[bytes]:
        """Return the pieces of the answer's body; raise as `ask` does while they are read."""
        while not isinstance(event := self._next_event(limits), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                yield bytes(event.data)

    def has_unread_bytes(self) -> bool:
        """Return whether something was received that belongs to no answer so far."""
        return self._http.trailing_data[0] != b""

    def be_ready_again(self) -> bool:
        """Return whether the exchange ended so that another may follow."""
        is_over = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        if not is_over or self.has_unread_bytes():
            return False
        self._http.start_next_cycle()
        return True

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

    def _encoded(
        self, method: str, target: str, headers: Mapping[str, str], content: bytes | None
    ) -> bytes:
        fields = list(headers.items())
        if content is not None or method in _CONTENT_IS_EXPECTED:
            fields.append(("Content-Length", str(len(content or b""))))
        try:
            return b"".join(
                (
                    self._http.send(h11.Request(method=method, target=target, headers=fields)),
                    self._http.send(h11.Data(data=content or b"")),
                    self._http.send(h11.EndOfMessage()),
                )
            )
        except h11.LocalProtocolError as error:
            raise NotSentError from error

    def _next_event(self, limits: Limits) -> object:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise BrokenConnectionError from error
            if event is not h11.NEED_DATA:
                return event
            self._receive(limits)

    def _receive(self, limits: Limits) -> None:
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
        self._http.receive_data(received)
