# SPDX-License-Identifier: GPL-3.0-or-later
"""The message format from the worker's side: what is read whole, and what is refused."""

import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

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

MESSAGE_PXD = Path(__file__).parents[2] / "spank_qrmi" / "plugin" / "message.pxd"

WHOLE = Request(
    verb=Verb.ACQUIRE,
    job_id=7,
    restart_count=1,
    step_id=0xFFFFFFFB,
    uid=1000,
    timeout_seconds=120,
    qpu_option="a, ü",
    q_backend="ibm_torino",
    q_primitive="sampler",
    time_limit_minutes=60,
    start_time=1_700_000_000,
    account="physics",
    partition="",
    licenses="qpu_a:2,other",
    user="alice",
    restarts=3,
    array_job_id=5,
    array_task_id=0,
    het_job_id=6,
    het_job_offset=1,
    gids=(1000, 0, 5000),
    node_index=3,
    arguments=("/etc/qrmi_config.json", "--env:A=b=c", ""),
    variables=(("a_QRMI_X", "line\nend"), ("a_QRMI_Y", "\udcff"), ("a_QRMI_X", "")),
    quantum_jobs=("first", "second"),
    killed_quantum_jobs=("third",),
)
LEAST = Request(Verb.RELEASE, 1, 0, 0, 0, 1)
NUMBERS = [(b"v", b"acquire"), (b"j", b"7"), (b"r", b"0"), (b"s", b"0"), (b"u", b"0"), (b"d", b"1")]
END = (b".", b"")


def read(message: bytes, size: int = 99) -> Request:
    """Read a message that arrives in pieces of a size."""
    return read_request(in_pieces(message, size))


def test_request_arrives_in_pieces_of_any_size() -> None:
    for sent, size in product((WHOLE, LEAST), (1, 2, 1 << 20)):
        assert outcome_of(read, encode_request(sent), size) == sent, size


def test_request_cut_anywhere_is_refused() -> None:
    message = encode_request(WHOLE)
    for length in range(len(message)):
        with pytest.raises(ProtocolError, match=r"^message ends in the middle$"):
            read_request(in_pieces(message[:length], 1 << 20))


def test_record_of_a_newer_plugin_is_skipped() -> None:
    for tag in (b"?", b"\0", b"\xff"):
        message = joined([(tag, b"more"), *NUMBERS, (tag, b""), END])
        assert outcome_of(read, message) == Request(Verb.ACQUIRE, 7, 0, 0, 0, 1), tag


OTHER_VERSIONS = (VERSION - 1, VERSION + 1, 255)


def test_giving_back_is_understood_in_every_version() -> None:
    for verb, version in product(sorted(ALWAYS_UNDERSTOOD), OTHER_VERSIONS):
        sent = replace(LEAST, verb=verb, version=version, quantum_jobs=("one",))
        assert outcome_of(read, encode_request(sent)) == sent, (verb, version)


@pytest.mark.parametrize("verb", [b"acquire", b"qrun-environment", b"of another release"])
def test_all_else_is_refused_in_another_version(verb: bytes) -> None:
    for version in OTHER_VERSIONS:
        message = joined([(b"v", verb), *NUMBERS[1:], END], preamble(version))
        assert refusal_of(ProtocolError, read, message) == (
            "the plugin and the QPU worker on this node are of different releases (message format "
            f"{version} and {VERSION}): submit the job again; if this stays, the administrator "
            "must install the plugin again"
        )


def test_nothing_is_read_beyond_the_end() -> None:
    receive = in_pieces(encode_request(LEAST) + b"rest", 1 << 20)
    read_request(receive)
    assert receive(10) == b"rest"


def test_slurms_numbers_for_no_limit() -> None:
    for minutes in (0xFFFFFFFF, 0xFFFFFFFE):
        sent = replace(LEAST, time_limit_minutes=minutes)
        assert outcome_of(read, encode_request(sent)) == LEAST, minutes


NO_NUMBERS = (b"1 ", "²".encode(), b"1" * 21)
TOO_LONG = f"record b'e' is longer than {MAX_PAYLOAD_BYTES} bytes"
UNKNOWN = "request asks for something unknown"
MALFORMED = {
    joined([END], b"QRMJ\x01"): "message does not start with the preamble",
    joined([(b"?", b""), END]): UNKNOWN,
    joined([END]): UNKNOWN,
    joined([(b"v", b"Acquire"), END]): UNKNOWN,
    joined([*NUMBERS, (b"j", b"7"), END]): "request holds record b'j' twice",
    joined([*NUMBERS[:-1], END]): "request's record b'd' is no number",
    **{
        joined([*NUMBERS, (tag, text), END]): f"request's record {tag!r} is no number"
        for tag, text in [(b"l", b""), (b"l", b"-1"), *((b"b", each) for each in NO_NUMBERS)]
    },
    PREAMBLE + b"e" + (MAX_PAYLOAD_BYTES + 1).to_bytes(4, "big"): TOO_LONG,
    PREAMBLE + b"e\xff\xff\xff\xff": TOO_LONG,
}


def test_malformed_request_is_refused() -> None:
    assert {each: refusal_of(ProtocolError, read, each, 1 << 20) for each in MALFORMED} == MALFORMED


def test_endless_message_is_refused() -> None:
    record = encode_record(RequestTag.VARIABLE, b"x" * MAX_PAYLOAD_BYTES)
    count = MAX_MESSAGE_BYTES // len(record)
    records = read_records(in_pieces(record * (count + 1), 1 << 20))
    for _ in range(count):
        next(records)
    with pytest.raises(ProtocolError, match=f"^message is longer than {MAX_MESSAGE_BYTES} bytes$"):
        next(records)


def test_record_that_cannot_be_read_is_not_written() -> None:
    for payload, expected in (
        (b"a\0b", "record b'm' holds a NUL byte"),
        (b"x" * (MAX_PAYLOAD_BYTES + 1), f"record b'm' is longer than {MAX_PAYLOAD_BYTES} bytes"),
    ):
        assert refusal_of(ProtocolError, encode_record, AnswerTag.MESSAGE, payload) == expected


def test_longest_record_is_written_and_read() -> None:
    payload = b"x" * MAX_PAYLOAD_BYTES
    message = encode_record(AnswerTag.MESSAGE, payload) + joined([END], b"")
    assert list(read_records(in_pieces(message, 1 << 20))) == [(b"m", payload)]


def test_secrets_are_left_out_of_repr() -> None:
    assert "QRMI_X" not in repr(WHOLE)
    assert "--env" not in repr(WHOLE)


def test_plugin_has_the_same_limits() -> None:
    text = MESSAGE_PXD.read_text()
    products = dict(re.findall(r"^    (MAX_\w+) = ([\d *+]+)$", text, re.MULTILINE))
    limits = {name: eval(product) for name, product in products.items()}
    assert limits == {
        "MAX_PAYLOAD_BYTES": MAX_PAYLOAD_BYTES,
        "MAX_MESSAGE_BYTES": MAX_MESSAGE_BYTES,
        "MAX_NAME_BYTES": MAX_VARIABLE_NAME_BYTES,
    }
