# SPDX-License-Identifier: GPL-3.0-or-later
"""The message format from the worker's side: what is read whole, and what is refused."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.targets.request import check_request
from spank_qrmi.errors import ProtocolError
from spank_qrmi.protocol import (
    ALWAYS_UNDERSTOOD,
    MAX_MESSAGE_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_VARIABLE_NAME_BYTES,
    PREAMBLE,
    VERSION,
    AnswerTag,
    Request,
    RequestTag,
    Verb,
    encode_record,
    preamble,
    read_records,
)
from tests.unit.conversation import encode_request, in_pieces, joined, read_request
from tests.unit.outcomes import outcome_of, refusal_of
from tests.unit.strategies import system_texts

LEAST = Request(Verb.RELEASE, 1, 0, 0, 0, 1)
MORE = replace(
    LEAST,
    qpu_option="a, ü",
    arguments=("/etc/qrmi_config.json", "--env:A=b=c", ""),
    variables=(("a_QRMI_X", "line=\nend\n"), ("a_QRMI_Y", "\udcff"), ("a_QRMI_X", "")),
)
NUMBERS = [(b"v", b"acquire"), (b"j", b"7"), (b"r", b"0"), (b"s", b"0"), (b"u", b"0"), (b"d", b"1")]
END = (b".", b"")

ANY_NUMBER = st.integers(0, 2**32 - 3)
ANY_NAME = system_texts.filter(lambda name: "=" not in name)
OF_TYPE = {
    Verb: st.sampled_from(Verb),
    int: ANY_NUMBER,
    str: system_texts,
    int | None: st.none() | ANY_NUMBER,
    str | None: st.none() | system_texts,
    tuple[int, ...]: st.lists(ANY_NUMBER, max_size=4).map(tuple),
    tuple[str, ...]: st.lists(system_texts, max_size=4).map(tuple),
    tuple[tuple[str, str], ...]: st.lists(st.tuples(ANY_NAME, system_texts), max_size=4).map(tuple),
}
SENT = [each for each in fields(Request) if each.name not in {"version", "stepd_pid"}]
# What is told to be empty, or 0, is not what is not told.
EMPTY = {each.name: 0 if each.type == int | None else "" for each in SENT if each.default is None}
REQUESTS = st.builds(Request, **{each.name: OF_TYPE[each.type] for each in SENT})
RECORDS = st.tuples(
    st.sampled_from([tag.value for tag in RequestTag]) | st.binary(min_size=1, max_size=1),
    st.binary(max_size=20),
)


def read(message: bytes, size: int = 99) -> Request:
    return read_request(in_pieces(message, size))


@example(LEAST, 1)
@example(replace(MORE, **EMPTY), 1)
@given(request=REQUESTS, size=st.integers(1, 64))
def test_request_is_read_as_it_was_written(request: Request, size: int) -> None:
    assert read(encode_request(request), size) == request


@given(request=REQUESTS, data=st.data())
def test_request_of_which_a_byte_is_changed_is_read_or_refused(
    request: Request, data: st.DataObject
) -> None:
    message = bytearray(encode_request(request))
    message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    check_request(bytes(message))


@given(start=st.just(PREAMBLE) | st.binary(max_size=6), records=st.lists(RECORDS))
def test_any_records_are_read_or_refused(start: bytes, records: list[tuple[bytes, bytes]]) -> None:
    check_request(joined([*records, END], start))


def test_request_is_read_to_its_end_and_not_beyond() -> None:
    message = encode_request(MORE)
    receive = in_pieces(message + b"rest", 1 << 20)
    read_request(receive)
    assert receive(10) == b"rest"
    for length in range(len(message)):
        refusal = refusal_of(ProtocolError, read, message[:length])
        assert refusal == "message ends in the middle", length


def test_record_of_a_newer_plugin_is_skipped() -> None:
    for tag in (b"?", b"\0", b"\xff"):
        message = joined([(tag, b"more"), *NUMBERS, (tag, b""), END])
        assert outcome_of(read, message) == Request(Verb.ACQUIRE, 7, 0, 0, 0, 1), tag


def test_another_version_can_give_back_and_nothing_else() -> None:
    for version in (VERSION - 1, VERSION + 1, 255):
        for verb in sorted(ALWAYS_UNDERSTOOD):
            sent = replace(LEAST, verb=verb, version=version, quantum_jobs=("one",))
            assert outcome_of(read, encode_request(sent)) == sent, (verb, version)
        for other in (b"acquire", b"qrun-environment", b"of another release"):
            message = joined([(b"v", other), *NUMBERS[1:], END], preamble(version))
            assert refusal_of(ProtocolError, read, message) == (
                "the plugin and the QPU worker on this node are of different releases (message "
                f"format {version} and {VERSION}): submit the job again; if this stays, the "
                "administrator must install the plugin again"
            )


def test_slurms_numbers_for_no_limit() -> None:
    for minutes in (0xFFFFFFFF, 0xFFFFFFFE):
        sent = replace(LEAST, time_limit_minutes=minutes)
        assert outcome_of(read, encode_request(sent)) == LEAST, minutes


TOO_LONG = f"record b'e' is longer than {MAX_PAYLOAD_BYTES} bytes"
UNKNOWN = "request asks for something unknown"
MALFORMED = {
    joined([END], b"QRMJ\x01"): "message does not start with the preamble",
    joined([(b"?", b""), END]): UNKNOWN,
    joined([END]): UNKNOWN,
    joined([(b"v", b"Acquire"), END]): UNKNOWN,
    joined([*NUMBERS, (b"j", b"7"), END]): "request holds record b'j' twice",
    joined([*NUMBERS[:-1], END]): "request's record b'd' is no number",
    joined([*NUMBERS, (b"l", b""), END]): "request's record b'l' is no number",
    joined([*NUMBERS, (b"b", b"1" * 21), END]): "request's record b'b' is no number",
    joined([*NUMBERS, (b"g", b"a"), END]): "request's record b'g' is no number",
    PREAMBLE + b"e" + (MAX_PAYLOAD_BYTES + 1).to_bytes(4, "big"): TOO_LONG,
    PREAMBLE + b"e\xff\xff\xff\xff": TOO_LONG,
}


def test_malformed_or_endless_message_is_refused() -> None:
    assert {each: refusal_of(ProtocolError, read, each, 1 << 20) for each in MALFORMED} == MALFORMED
    record = encode_record(RequestTag.VARIABLE, b"x" * MAX_PAYLOAD_BYTES)
    count = MAX_MESSAGE_BYTES // len(record)
    records = read_records(in_pieces(record * (count + 1), 1 << 20))
    for _ in range(count):
        next(records)
    with pytest.raises(ProtocolError, match=f"^message is longer than {MAX_MESSAGE_BYTES} bytes$"):
        next(records)


def test_longest_record_is_written_and_read_and_what_cannot_be_read_is_not_written() -> None:
    longest = b"x" * MAX_PAYLOAD_BYTES
    message = encode_record(AnswerTag.MESSAGE, longest) + joined([END], b"")
    assert list(read_records(in_pieces(message, 1 << 20))) == [(b"m", longest)]
    for payload, expected in (
        (b"a\0b", "record b'm' holds a NUL byte"),
        (longest + b"x", f"record b'm' is longer than {MAX_PAYLOAD_BYTES} bytes"),
    ):
        assert refusal_of(ProtocolError, encode_record, AnswerTag.MESSAGE, payload) == expected


def test_secrets_are_left_out_of_repr() -> None:
    assert "QRMI_X" not in repr(MORE)
    assert "--env" not in repr(MORE)


def test_plugin_has_the_same_limits() -> None:
    text = (Path(__file__).parents[2] / "spank_qrmi/plugin/message.pxd").read_text()
    products = dict(re.findall(r"^    (MAX_\w+) = ([\d *+]+)$", text, re.MULTILINE))
    assert {name: eval(product) for name, product in products.items()} == {
        "MAX_PAYLOAD_BYTES": MAX_PAYLOAD_BYTES,
        "MAX_MESSAGE_BYTES": MAX_MESSAGE_BYTES,
        "MAX_NAME_BYTES": MAX_VARIABLE_NAME_BYTES,
    }
