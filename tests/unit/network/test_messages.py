# SPDX-License-Identifier: GPL-3.0-or-later
"""What passes between worker and network process comes out as it went in, or is refused."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from spank_qrmi.clients.retry import RequestError
from spank_qrmi.errors import (
    AcquisitionError,
    AuthenticationError,
    ProtocolError,
    QrmiError,
    ReleaseError,
    ServiceError,
    VariableError,
)
from spank_qrmi.network.messages import (
    MAX_FIELDS,
    MAX_TEXT_LENGTH,
    Order,
    clock_fields,
    clock_from_fields,
    encode_frame,
    error_fields,
    error_from_fields,
    fields_to_pairs,
    pairs_to_fields,
    parse_acquisition_token,
    read_frame,
    require_number,
    status_fields,
    status_from_fields,
    usage_from_fields,
)
from spank_qrmi.status import QpuState, QpuStatus
from tests.unit.conversation import in_pieces
from tests.unit.outcomes import outcome_of, refusal_of

FIELDS = ["", "a", "ü\n\0", "\udcff", "x" * 70000]
FRAME = encode_frame(Order.CALL, *FIELDS)


def test_frames_come_out_as_they_went_in_and_what_is_none_is_refused() -> None:
    for size in (1, 3, 1 << 20):
        receive = in_pieces(FRAME + FRAME, size)
        for _ in range(2):
            assert outcome_of(read_frame, receive, len(FRAME)) == ["call", *FIELDS], size
        assert outcome_of(read_frame, receive, len(FRAME)) is None, size
    for frame, limit, expected in (
        (FRAME, len(FRAME) - 5, "a message is too long"),
        (FRAME[:-1], len(FRAME), "a message ends in the middle"),
        (FRAME[:2], len(FRAME), "a message ends in the middle"),
        (b"\xff\xff\xff\xff", 1000, "a message has too many fields"),
        (b"\0\0\0\1\xff\xff\xff\xff", 1000, "a message is too long"),
    ):
        told = refusal_of(ProtocolError, read_frame, in_pieces(frame, 1 << 20), limit)
        assert told == expected, frame
    # Nor is it sent.
    with pytest.raises(ProtocolError):
        encode_frame(Order.CALL, *[""] * MAX_FIELDS)


def test_variables_status_and_clock_come_out_as_they_went_in() -> None:
    variables = {"A": "", "B=": "c=d", "C": "\udcff"}
    assert fields_to_pairs(pairs_to_fields(variables)) == variables
    full = QpuStatus(QpuState.PAUSED, "off", 0, 1, 3, "yesterday", "tomorrow", "now")
    for status in (QpuStatus(QpuState.ONLINE), full):
        assert status_from_fields(status_fields(status)) == status
    # In whole seconds.
    offsets = {"a.test:443": 0.4, "b.test:80": -61.2, "c.test:1": 1e12}
    expected = {"a.test:443": 0, "b.test:80": -61, "c.test:1": 999_999_999}
    assert clock_from_fields(clock_fields(offsets)) == expected


def test_errors_come_out_as_they_went_in() -> None:
    opened = ServiceError("a", may_have_acted=True)
    opened.token = "session-1"
    for error, kind in (
        (QrmiError("a"), QrmiError),
        (AcquisitionError("a"), AcquisitionError),
        (ReleaseError(""), ReleaseError),
        (VariableError("ü"), VariableError),
        (ServiceError("a"), ServiceError),
        (ServiceError("a", status=404, may_have_acted=True), ServiceError),
        (AuthenticationError("a", status=401), AuthenticationError),
        (opened, ServiceError),
        # One of another kind comes out as its parent.
        (RequestError("a", may_have_acted=True), ServiceError),
    ):
        again = outcome_of(error_from_fields, error_fields(error))
        assert (type(again), str(again)) == (kind, str(error))
        for name in ("status", "may_have_acted", "token"):
            assert getattr(again, name, None) == getattr(error, name, None), error


def test_status_is_hostile_until_it_is_read() -> None:
    told = ["busy", "-1", "x", "9" * 30, "a\nb", "c" * (MAX_TEXT_LENGTH + 1), "", "\x1b[2J"]
    longest = "c" * MAX_TEXT_LENGTH
    expected = QpuStatus(QpuState.BUSY, "a?b", calibrated_at=longest, facts_at="?[2J")
    assert status_from_fields(told) == expected


REFUSED: Mapping[Callable[..., object], Sequence[object]] = {
    error_from_fields: (
        [],
        ["ServiceError", "a", "", ""],
        ["SystemExit", "a", "", "", ""],
        ["ServiceError", "a", "x", "", ""],
        ["ServiceError", "a", "", "", "two\nlines"],
    ),
    parse_acquisition_token: ("", "a\nb", "ü", "\udcff", "\0", "a" * (MAX_TEXT_LENGTH + 1)),
    require_number: ("", "-1", "x", "²", "1" * 10),
    status_from_fields: ([], ["online"], ["broken", *[""] * 7], ["online", *[""] * 8]),
    usage_from_fields: ([], ["1"], ["1", "2", "3", "4"]),
    clock_from_fields: (["a"], ["a", "x"], ["a", ""], ["a", "--1"], ["a", "1e3"]),
}


def test_what_tells_no_such_thing_is_refused() -> None:
    for read, texts in REFUSED.items():
        for told in texts:
            assert isinstance(outcome_of(read, told), ProtocolError), (read, told)
