# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin's end of a conversation with a worker: requests written, answers read."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

from spank_qrmi.deadline import Deadline
from spank_qrmi.protocol import (
    PREAMBLE,
    VERSION,
    AnswerTag,
    Request,
    RequestTag,
    Verb,
    decode_request,
    encode_record,
    preamble,
    read_records,
    read_version,
)

TAGS = {tag.name.lower(): tag for tag in RequestTag}


def encode_request(request: Request) -> bytes:
    """Return the bytes that a plugin sends for a request."""
    message = preamble(request.version)
    for each in fields(request):
        value = getattr(request, each.name)
        value = value.value if isinstance(value, Verb) else value
        # A list has one record for each item, with the name of one.
        tag = TAGS.get(each.name) or TAGS.get(each.name.removesuffix("s"))
        for item in value if isinstance(value, tuple) else (value,):
            if tag is not None and item is not None:
                text = "=".join(item) if isinstance(item, tuple) else str(item)
                message += encode_record(tag, text.encode("utf-8", "surrogateescape"))
    return message + encode_record(RequestTag.END, b"")


def read_request(receive: Callable[[int], bytes]) -> Request:
    return decode_request(receive, read_version(receive))


@dataclass
class SeenAnswer:
    """An answer as a plugin takes it; `logs` are (level, text)."""

    logs: list[tuple[str, str]] = field(default_factory=list)
    variables: list[tuple[str, str]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    held: int | None = None
    verdict: str | None = None

    def logged(self, level: str) -> list[str]:
        return [text for each, text in self.logs if each == level]

    @property
    def everything_readable(self) -> str:
        return "\n".join([text for _, text in self.logs] + self.messages)


def read_answer(receive: Callable[[int], bytes], version: int = VERSION) -> SeenAnswer:
    """Read one answer; it must be whole, with one verdict, and nothing may follow."""
    answer = SeenAnswer()
    assert read_version(receive) == version
    for tag, payload in read_records(receive):
        text = payload.decode("utf-8", "surrogateescape")
        if tag == AnswerTag.LOG.value:
            answer.logs.append((text[0], text[1:]))
        elif tag == AnswerTag.VARIABLE.value:
            name, _, value = text.partition("=")
            answer.variables.append((name, value))
        elif tag == AnswerTag.MESSAGE.value:
            answer.messages.append(text)
        elif tag == AnswerTag.LEFT.value:
            assert answer.held is None
            answer.held = int(text)
        else:
            assert (tag, answer.verdict) == (AnswerTag.VERDICT.value, None)
            answer.verdict = text
    assert answer.verdict is not None
    assert receive(1) == b""
    return answer


@dataclass
class ServingWorker:
    """The worker in this process; `deadlines` are those of its conversations."""

    serve: Callable[[socket.socket], object]
    deadlines: list[Deadline] = field(default_factory=list)

    def ask(self, message: bytes | Request) -> SeenAnswer:
        """Put one message to it; return what it answered."""
        version = message.version if isinstance(message, Request) else VERSION
        encoded = encode_request(message) if isinstance(message, Request) else message
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(encoded)
            ours.shutdown(socket.SHUT_WR)
            self.serve(theirs)
            # Closed instead, a request that was not read to its end would reset the connection.
            theirs.shutdown(socket.SHUT_WR)
            return read_answer(ours.recv, version)


def in_pieces(message: bytes, size: int) -> Callable[[int], bytes]:
    """Return a `receive` that gives at most `size` bytes at a time, and counts no further."""
    rest = memoryview(message)

    def receive(count: int) -> bytes:
        nonlocal rest
        piece, rest = rest[: min(count, size)], rest[min(count, size) :]
        return bytes(piece)

    return receive


def joined(records: Sequence[tuple[bytes, bytes]], preamble: bytes = PREAMBLE) -> bytes:
    """Return a message of raw records (tag, payload), whatever they hold."""
    return preamble + b"".join(
        tag + len(payload).to_bytes(4, "big") + payload for tag, payload in records
    )
