# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP/1.1 as far as a client of JSON services needs it (RFC 9112): requests out, answers in.

The libraries for it take 10 ms and more to import, a fifth of what a job waits for. What the RFC
lets a recipient be lenient about is refused here, bare line feeds at the end of lines apart.
"""

import re
from collections.abc import Callable, Iterator, Mapping

HEAD_LIMIT_BYTES = 64 * 1024
"""Longest status line with headers, those of answers that announce others included."""

SUCCESS = range(200, 300)

_CHUNK_LINES_LIMIT_BYTES = 1024
_PIECE_BYTES = 64 * 1024

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [\t -~\x80-\xff]*)?")
_HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,12})[\t ]*(?:;[\t -~\x80-\xff]*)?")
_LENGTH = re.compile(r"[0-9]{1,15}")

_TARGET = re.compile(r"[!-~]+")
_VALUE = re.compile(r"[!-~](?:[\t -~]*[!-~])?|")

_EARLY = range(100, 200)
_SWITCHING = 101
_WITHOUT_BODY = frozenset({204, 304})
_WITH_CONTENT = frozenset({"POST", "PUT", "PATCH"})

Receive = Callable[[], bytes]
"""Returns what has come, b"" once nothing more will."""


class MalformedError(ValueError):
    """What came is no answer, or ends before its end."""


class UnsendableError(ValueError):
    """A request that HTTP cannot express."""


def encoded_request(
    method: str, target: str, headers: Mapping[str, str], content: bytes | None
) -> bytes:
    """Return a request's bytes; raise UnsendableError for what would be another request."""
    fields = dict(headers)
    if content is not None or method in _WITH_CONTENT:
        fields["Content-Length"] = str(len(content or b""))
    if not _TARGET.fullmatch(target):
        raise UnsendableError("the target cannot be sent")
    for name, value in fields.items():
        if not _VALUE.fullmatch(value):
            message = f"the value of {name} cannot be sent"
            raise UnsendableError(message)
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields), "", ""]
    return "\r\n".join(lines).encode("ascii") + (content or b"")


class IncomingAnswer:
    """One answer to a request with this method, read from `receive` as it comes.

    `status` and `headers` (names in lower case, values of one name joined by commas) are there at
    once, without the answers that only announce others. Raises MalformedError, also while the body
    is read, and what `receive` raises.
    """

    def __init__(self, method: str, receive: Receive) -> None:
        self._bytes = _Bytes(receive)
        self._is_over = False
        while True:
            minor_version, self.status = self._status_line()
            self.headers = self._fields()
            if self.status == _SWITCHING:
                raise MalformedError("another protocol")
            if self.status not in _EARLY:
                break
        self._length = self._body_length(method)
        words = self.headers.get("connection", "").lower().split(",")
        self._stays_open = minor_version == 1 and "close" not in map(str.strip, words)

    def body(self) -> Iterator[bytes]:
        """Return the pieces of the body."""
        if "transfer-encoding" in self.headers and self._length is None:
            yield from self._chunks()
        elif self._length is None:
            yield from self._bytes.all()
            self._stays_open = False
        else:
            yield from self._bytes.exactly(self._length)
        self._is_over = True

    def has_more(self) -> bool:
        """Return whether something has come that is not of this answer."""
        return not self._bytes.is_empty()

    def may_be_followed(self) -> bool:
        """Return whether the connection can carry another exchange."""
        return self._is_over and self._stays_open and not self.has_more()

    def _status_line(self) -> tuple[int, int]:
        found = _STATUS_LINE.fullmatch(self._bytes.line())
        if found is None:
            raise MalformedError("no status line")
        return int(found[1]), int(found[2])

    def _fields(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        while line := self._bytes.line():
            found = _HEADER_LINE.fullmatch(line)
            if found is None:
                raise MalformedError("no header")
            name = found[1].decode("ascii").lower()
            value = found[2].decode("utf-8", "replace").strip(" \t")
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        return fields

    def _body_length(self, method: str) -> int | None:
        """Return the body's length in bytes, None if only its end will tell (RFC 9112, 6.3)."""
        coding, length = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        if coding is not None and (coding.lower() != "chunked" or length is not None):
            raise MalformedError("a transfer coding that is not chunked, or a length as well")
        known = None if length is None else _whole_length(length)
        if self.status in _WITHOUT_BODY or (method == "CONNECT" and self.status in SUCCESS):
            return 0
        return known

    def _chunks(self) -> Iterator[bytes]:
        while True:
            self._bytes.lines_left_bytes = _CHUNK_LINES_LIMIT_BYTES
            found = _CHUNK_LINE.fullmatch(self._bytes.line())
            if found is None:
                raise MalformedError("no chunk")
            length = int(found[1], 16)
            if length == 0:
                break
            yield from self._bytes.exactly(length)
            if self._bytes.line():
                raise MalformedError("a chunk longer than it says")
        self._bytes.lines_left_bytes = HEAD_LIMIT_BYTES
        self._fields()


def _whole_length(text: str) -> int:
    """Return what Content-Length says, which may be repeated, see `_fields`."""
    [first, *others] = [each.strip() for each in text.split(",")]
    if not _LENGTH.fullmatch(first) or any(each != first for each in others):
        raise MalformedError("no length")
    return int(first)


class _Bytes:
    """What comes in, in lines or pieces; `lines_left_bytes` limits what lines may still take."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._held = bytearray()
        self.lines_left_bytes = HEAD_LIMIT_BYTES

    def line(self) -> bytes:
        """Return the next line without its end."""
        searched = 0
        while (end := self._held.find(b"\n", searched)) < 0:
            searched = len(self._held)
            if searched > self.lines_left_bytes:
                break
            self._held += self._received()
        self.lines_left_bytes -= end + 1
        if end < 0 or self.lines_left_bytes < 0:
            raise MalformedError("lines that are too long")
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line.removesuffix(b"\r")

    def exactly(self, count: int) -> Iterator[bytes]:
        """Return the next bytes in pieces."""
        while count > 0:
            self._held = self._held or bytearray(self._received())
            piece = bytes(self._held[: min(count, _PIECE_BYTES)])
            del self._held[: len(piece)]
            count -= len(piece)
            yield piece

    def all(self) -> Iterator[bytes]:
        """Return all that comes until nothing more does, in pieces."""
        piece = bytes(self._held)
        self._held.clear()
        while piece or (piece := self._receive()):
            yield piece
            piece = b""

    def is_empty(self) -> bool:
        """Return whether all that has come was asked for."""
        return not self._held

    def _received(self) -> bytes:
        received = self._receive()
        if not received:
            raise MalformedError("an answer ends in the middle")
        return received
