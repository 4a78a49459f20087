# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages between a plugin and its worker: the one written definition of the format.

A message is the preamble, any number of records, and the end record:

    preamble    b"QRMI" and one byte, the format's version
    record      tag (1 byte), length of the payload (4 bytes, big-endian), payload
    end record  tag b".", length 0

The plugin sends one request and the worker one answer, over one socket. Payloads are bytes without
NUL; numbers are ASCII decimal. `plugin/message.pxd` is the same format for the plugin's side, and
the unit tests hold the two against each other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from spank_qrmi.errors import ProtocolError

PREAMBLE = b"QRMI\x01"
MAX_VALUE_BYTES = 256 * 1024
MAX_PAYLOAD_BYTES = MAX_VALUE_BYTES + 256
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
MAX_VARIABLE_NAME_BYTES = 255
"""The plugin takes no answer that sets a variable of a longer name."""
# slurm/slurm.h: INFINITE and NO_VAL, a job without a time limit and one whose limit is not set.
_NO_LIMIT_MINUTES = frozenset({0xFFFFFFFF, 0xFFFFFFFE})

_HEADER_BYTES = 5


class RequestTag(bytes, Enum):
    """What a record of a request holds."""

    VERB = b"v"
    QPU_OPTION = b"q"
    JOB_ID = b"j"
    RESTART_COUNT = b"r"
    STEP_ID = b"s"
    UID = b"u"
    TIME_LIMIT_MINUTES = b"l"
    START_TIME = b"b"
    TIMEOUT_SECONDS = b"d"
    ARGUMENT = b"a"
    VARIABLE = b"e"
    END = b"."


class AnswerTag(bytes, Enum):
    """What a record of an answer holds."""

    LOG = b"g"
    VARIABLE = b"e"
    MESSAGE = b"m"
    HELD = b"n"
    VERDICT = b"v"
    END = b"."


class Verb(str, Enum):
    """What the worker is asked to do."""

    ACQUIRE = "acquire"
    RELEASE = "release"


class Verdict(str, Enum):
    """Whether the job has a QPU to run with; `--on-failure` is the plugin's to apply.

    A release that could be tried answers RUN; what failed is in its messages.
    """

    RUN = "run"
    FAIL = "fail"


@dataclass(frozen=True)
class Request:
    """One request, checked.

    `time_limit_minutes` is None for a job without limit, or if Slurm could not tell; `start_time`
    is in Unix seconds. `variables` are the job's, and hold secrets.
    """

    verb: Verb
    job_id: int
    restart_count: int
    step_id: int
    uid: int
    timeout_seconds: int
    qpu_option: str = ""
    time_limit_minutes: int | None = None
    start_time: int | None = None
    arguments: tuple[str, ...] = field(default=(), repr=False)
    variables: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def encode_record(tag: RequestTag | AnswerTag, payload: bytes) -> bytes:
    """Return one record; raise ProtocolError for a NUL or for more than MAX_PAYLOAD_BYTES."""
    if b"\0" in payload:
        message = f"record {tag.value!r} holds a NUL byte"
        raise ProtocolError(message)
    if len(payload) > MAX_PAYLOAD_BYTES:
        message = f"record {tag.value!r} is longer than {MAX_PAYLOAD_BYTES} bytes"
        raise ProtocolError(message)
    return b"%b%b%b" % (tag.value, len(payload).to_bytes(4, "big"), payload)


def read_records(receive: Callable[[int], bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield (tag, payload) of one message up to its end record, which is left out.

    `receive(count)` returns at most `count` bytes and b"" at the end of the stream. Raises
    ProtocolError if what comes is not one whole message within the limits.
    """
    read = 0

    def read_exactly(count: int) -> bytes:
        nonlocal read
        read += count
        if read > MAX_MESSAGE_BYTES:
            message = f"message is longer than {MAX_MESSAGE_BYTES} bytes"
            raise ProtocolError(message)
        chunks = b""
        while len(chunks) < count:
            chunk = receive(count - len(chunks))
            if not chunk:
                raise ProtocolError("message ends in the middle")
            chunks += chunk
        return chunks

    if read_exactly(len(PREAMBLE)) != PREAMBLE:
        raise ProtocolError("message does not start with this version's preamble")
    while True:
        header = read_exactly(_HEADER_BYTES)
        tag, length = header[:1], int.from_bytes(header[1:], "big")
        if length > MAX_PAYLOAD_BYTES:
            message = f"record {tag!r} is longer than {MAX_PAYLOAD_BYTES} bytes"
            raise ProtocolError(message)
        if tag == RequestTag.END.value:
            return
        yield tag, read_exactly(length)


def decode_request(receive: Callable[[int], bytes]) -> Request:
    """Read one request; raise ProtocolError if it is malformed or incomplete."""
    single: dict[RequestTag, str] = {}
    arguments: list[str] = []
    variables: list[tuple[str, str]] = []
    for tag_byte, payload in read_records(receive):
        try:
            tag = RequestTag(tag_byte)
        except ValueError as error:
            message = f"request holds an unknown record {tag_byte!r}"
            raise ProtocolError(message) from error
        text = payload.decode("utf-8", "surrogateescape")
        if tag is RequestTag.ARGUMENT:
            arguments.append(text)
        elif tag is RequestTag.VARIABLE:
            name, _, value = text.partition("=")
            variables.append((name, value))
        elif tag in single:
            message = f"request holds record {tag_byte!r} twice"
            raise ProtocolError(message)
        else:
            single[tag] = text
    return _request_of(single, tuple(arguments), tuple(variables))


def _request_of(
    single: dict[RequestTag, str],
    arguments: tuple[str, ...],
    variables: tuple[tuple[str, str], ...],
) -> Request:
    def number(tag: RequestTag) -> int:
        text = single.get(tag, "")
        if not (text.isascii() and text.isdigit() and len(text) <= len("18446744073709551615")):
            message = f"request's record {tag.value!r} is no number"
            raise ProtocolError(message)
        return int(text)

    def optional_number(tag: RequestTag) -> int | None:
        return number(tag) if tag in single else None

    time_limit_minutes = optional_number(RequestTag.TIME_LIMIT_MINUTES)
    try:
        verb = Verb(single.get(RequestTag.VERB, ""))
    except ValueError as error:
        raise ProtocolError("request asks for something unknown") from error
    return Request(
        verb=verb,
        job_id=number(RequestTag.JOB_ID),
        restart_count=number(RequestTag.RESTART_COUNT),
        step_id=number(RequestTag.STEP_ID),
        uid=number(RequestTag.UID),
        timeout_seconds=number(RequestTag.TIMEOUT_SECONDS),
        qpu_option=single.get(RequestTag.QPU_OPTION, ""),
        time_limit_minutes=None if time_limit_minutes in _NO_LIMIT_MINUTES else time_limit_minutes,
        start_time=optional_number(RequestTag.START_TIME),
        arguments=arguments,
        variables=variables,
    )
