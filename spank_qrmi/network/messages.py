# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages between the worker and its network process: lists of texts, each with its length.

    frame   number of fields (4 bytes, big-endian), then the fields
    field   length in bytes (4 bytes, big-endian), then the text in UTF-8

The first field says what it is. The worker asks (`Order`), the network process tells (`Report`);
what it tells is hostile, since it has read the network: it is text of limited length, and nothing
in it can be taken for another type.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from spank_qrmi.errors import (
    AcquisitionError,
    AuthenticationError,
    ProtocolError,
    QrmiError,
    ReleaseError,
    ServiceError,
    UnavailableError,
    VariableError,
)
from spank_qrmi.numbers_in_text import parse_number
from spank_qrmi.redaction import printable
from spank_qrmi.status import QpuState, QpuStatus
from spank_qrmi.usage import Usage

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""What the worker asks: a resource's variables, as many as a job may bring."""

MAX_REPORT_BYTES = 2 * 1024 * 1024
"""What the network process tells: at most a list of quantum jobs, out of a response of 1 MiB."""

WHO = "the worker's network process"
NONSENSE = f"{WHO} gave an answer that cannot be read"

MAX_FIELDS = 200_000
MAX_TEXT_LENGTH = 4000

_NUMBER_BYTES = 4
_LARGEST_COUNT = 10**9
_LARGEST_USAGE = 10**13
_THOUSAND = 1000
_CHUNK_BYTES = 65536


class Order(str, Enum):
    """What the worker sends, with the fields that follow.

    OPEN user, processor seconds, sets of variables (each a number of variables, then names and
    values); WORK number, index of its set, seconds; SUBJECT number of a work, a number, type, name,
    remaining seconds, user and job (each may be nothing), "site" for a login of the site's or
    nothing, names and values of what calls name so; LOGIN number of a work, number of one who logs
    in, key of the login, its access token or nothing, for how many seconds; CANCEL number of a
    work; CALL number, number of its work, `Call`, of what, a number of one-time credentials and
    these, and what that call says.
    """

    OPEN = "open"
    WORK = "work"
    SUBJECT = "subject"
    LOGIN = "login"
    CANCEL = "cancel"
    CALL = "call"


class Report(str, Enum):
    """What the network process sends, with the fields that follow.

    OPENED nothing; REFUSED why it cannot make requests; LOG level, text; TOKEN key of a login, its
    new access token and for how many seconds, or nothing and 0 if the former one was refused; DONE
    number of the call, its result; FAILED number of the call and the error, see `error_fields`.
    """

    OPENED = "opened"
    REFUSED = "refused"
    LOG = "log"
    TOKEN = "token"  # noqa: S105 (the name of a report)
    DONE = "done"
    FAILED = "failed"


# As many digits as `require_number` takes.
_MOST_CLOCK_SECONDS = 999_999_999

Receive = Callable[[int], bytes]
"""Returns at most so many bytes, b"" at the end of the stream."""

_ERRORS: Mapping[str, type[QrmiError]] = {
    error.__name__: error
    for error in (
        QrmiError,
        AcquisitionError,
        AuthenticationError,
        ReleaseError,
        ServiceError,
        UnavailableError,
        VariableError,
    )
}


def encode_frame(kind: Order | Report, *fields: str) -> bytes:
    """Return one frame; raise ProtocolError for more than a reader takes."""
    texts = [text.encode("utf-8", "surrogateescape") for text in (kind.value, *fields)]
    frame = _number(len(texts)) + b"".join(_number(len(text)) + text for text in texts)
    if len(texts) > MAX_FIELDS or len(frame) > MAX_FRAME_BYTES:
        raise ProtocolError(f"a message of {len(frame)} bytes is too long")
    return frame


def read_frame(receive: Receive, limit_bytes: int) -> list[str] | None:
    """Read the next frame; return None where the stream ends between two of them.

    Raises ProtocolError if it ends elsewhere, is too long, or holds what is no text.
    """
    left = limit_bytes

    def read(count: int) -> bytes:
        nonlocal left
        left -= count
        if left < 0:
            raise ProtocolError("a message is too long")
        return _read_exactly(receive, count)

    start = receive(_NUMBER_BYTES)
    if not start:
        return None
    start += read(_NUMBER_BYTES - len(start))
    count = int.from_bytes(start, "big")
    if count > MAX_FIELDS:
        raise ProtocolError("a message has too many fields")
    try:
        return [
            read(int.from_bytes(read(_NUMBER_BYTES), "big")).decode("utf-8", "surrogateescape")
            for _ in range(count)
        ]
    except UnicodeDecodeError as error:
        raise ProtocolError("a message is no text") from error


def pairs_to_fields(variables: Mapping[str, str]) -> list[str]:
    """Return names and values in turn."""
    return [text for pair in variables.items() for text in pair]


def fields_to_pairs(fields: Sequence[str]) -> dict[str, str]:
    """Return the variables that `pairs_to_fields` was given."""
    return dict(zip(fields[::2], fields[1::2], strict=True))


def error_fields(error: QrmiError) -> list[str]:
    """Return an error as type, text, status, whether the service may have acted, and token."""
    # Some are of a kind that only their own module tells from its parent.
    name = next(each.__name__ for each in type(error).__mro__ if each.__name__ in _ERRORS)
    if not isinstance(error, ServiceError):
        return [name, str(error), "", "", ""]
    status = "" if error.status is None else str(error.status)
    return [name, str(error), status, "1" if error.may_have_acted else "", error.token or ""]


def error_from_fields(fields: Sequence[str]) -> QrmiError:
    """Return the error that `error_fields` was given; raise ProtocolError if they tell none."""
    try:
        name, text, status, may_have_acted, token = fields
        error = _ERRORS[name](text[:MAX_TEXT_LENGTH])
    except (KeyError, ValueError) as failure:
        raise ProtocolError("a message tells no error") from failure
    if isinstance(error, ServiceError):
        error.status = require_number(status) if status else None
        error.may_have_acted = bool(may_have_acted)
        error.token = parse_acquisition_token(token) if token else None
    return error


def status_fields(status: QpuStatus) -> list[str]:
    """Return a status as its state, its numbers (nothing for what is not told) and its texts."""
    numbers = (status.waiting_jobs, status.free_slots, status.total_slots)
    return [
        status.state.value,
        *("" if number is None else str(number) for number in numbers),
        *(status.reason, status.calibrated_at, status.available_at, status.facts_at),
    ]


def status_from_fields(fields: Sequence[str]) -> QpuStatus:
    """Return the status that `status_fields` was given; raise ProtocolError if they tell none."""
    try:
        state, *rest = fields
        waiting_jobs, free_slots, total_slots = (
            parse_number(text, _LARGEST_COUNT) for text in rest[:3]
        )
        reason, calibrated_at, available_at, facts_at = (
            printable(text[:MAX_TEXT_LENGTH]) for text in rest[3:]
        )
        return QpuStatus(
            QpuState(state),
            reason,
            waiting_jobs=waiting_jobs,
            free_slots=free_slots,
            total_slots=total_slots,
            calibrated_at=calibrated_at,
            available_at=available_at,
            facts_at=facts_at,
        )
    except ValueError as failure:
        raise ProtocolError("a message tells no status") from failure


def usage_fields(usage: Usage) -> list[str]:
    """Return milliseconds, jobs and shots, nothing for what is not told."""
    milliseconds = None if usage.seconds is None else round(usage.seconds * _THOUSAND)
    numbers = (milliseconds, usage.jobs, usage.shots)
    return ["" if each is None else str(each) for each in numbers]


def usage_from_fields(fields: Sequence[str]) -> Usage:
    """Return the usage that `usage_fields` was given; raise ProtocolError if they tell none."""
    try:
        milliseconds, jobs, shots = (parse_number(text, _LARGEST_USAGE) for text in fields)
    except ValueError as failure:
        raise ProtocolError("a message tells no usage") from failure
    seconds = None if milliseconds is None else milliseconds / _THOUSAND
    return Usage(seconds, jobs, shots)


def clock_fields(offsets: Mapping[str, float]) -> list[str]:
    """Return host and port of each service in turn with how far our clock is ahead, in seconds."""
    return pairs_to_fields(
        {
            host: str(round(max(-_MOST_CLOCK_SECONDS, min(seconds, _MOST_CLOCK_SECONDS))))
            for host, seconds in offsets.items()
        }
    )


def clock_from_fields(fields: Sequence[str]) -> dict[str, int]:
    """Return what `clock_fields` was given; raise ProtocolError if they tell no seconds."""
    try:
        return {
            printable(host[:MAX_TEXT_LENGTH]): -require_number(text[1:])
            if text.startswith("-")
            else require_number(text)
            for host, text in fields_to_pairs(fields).items()
        }
    except ValueError as failure:
        raise ProtocolError("a message tells no clock") from failure


def parse_acquisition_token(text: str) -> str:
    """Return an acquisition token; raise ProtocolError if it can be none."""
    if not (0 < len(text) <= MAX_TEXT_LENGTH and text.isascii() and text.isprintable()):
        raise ProtocolError("a token is not one line of text")
    return text


def require_number(text: str) -> int:
    """Return a whole number of at most 9 digits; raise ProtocolError if it is none."""
    found = parse_number(text, 999_999_999)
    if found is None:
        raise ProtocolError("a message holds no number where one belongs")
    return found


def _number(value: int) -> bytes:
    return value.to_bytes(_NUMBER_BYTES, "big")


def _read_exactly(receive: Receive, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = receive(min(count - len(data), _CHUNK_BYTES))
        if not chunk:
            raise ProtocolError("a message ends in the middle")
        data += chunk
    return bytes(data)
