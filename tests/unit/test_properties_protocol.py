# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests and answers: what is written is read, and what is not whole is refused."""

import logging

from hypothesis import given
from hypothesis import strategies as st

from fuzz.targets.claims import is_variable_name
from fuzz.targets.request import check_request
from spank_qrmi.answer import AnswerWriter
from spank_qrmi.protocol import PREAMBLE, Request, RequestTag, Verb, Verdict
from tests.unit.conversation import encode_request, in_pieces, joined, read_answer, read_request
from tests.unit.strategies import MARK, secrets, system_texts, texts

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
NUMBERS = st.integers(0, 2**32 - 3)
LISTS = st.lists(system_texts, max_size=4).map(tuple)
NAMES = system_texts.filter(lambda name: "=" not in name)
VARIABLE_NAMES = system_texts.filter(is_variable_name)
REQUESTS = st.builds(
    Request,
    verb=st.sampled_from(Verb),
    job_id=NUMBERS,
    restart_count=NUMBERS,
    step_id=NUMBERS,
    uid=NUMBERS,
    timeout_seconds=NUMBERS,
    qpu_option=system_texts,
    q_backend=system_texts,
    q_primitive=system_texts,
    time_limit_minutes=st.none() | NUMBERS,
    start_time=st.none() | NUMBERS,
    arguments=LISTS,
    variables=st.lists(st.tuples(NAMES, system_texts), max_size=4).map(tuple),
    quantum_jobs=LISTS,
    killed_quantum_jobs=LISTS,
)
RECORDS = st.tuples(
    st.one_of(
        st.sampled_from([tag.value for tag in RequestTag]), st.binary(min_size=1, max_size=1)
    ),
    st.binary(max_size=20),
)


@given(request=REQUESTS, size=st.integers(1, 64))
def test_request_is_read_as_it_was_written(request: Request, size: int) -> None:
    assert read_request(in_pieces(encode_request(request), size)) == request


@given(request=REQUESTS, data=st.data())
def test_request_that_is_cut_off_or_changed_is_read_or_refused(
    request: Request, data: st.DataObject
) -> None:
    message = bytearray(encode_request(request))
    place = data.draw(st.integers(0, len(message) - 1))
    check_request(bytes(message[:place]))
    message[place] = data.draw(st.integers(0, 255))
    check_request(bytes(message))


@given(start=st.one_of(st.just(PREAMBLE), st.binary(max_size=6)), records=st.lists(RECORDS))
def test_any_records_are_read_or_refused(start: bytes, records: list[tuple[bytes, bytes]]) -> None:
    check_request(joined([*records, (b".", b"")], start))


@given(
    lines=st.lists(st.tuples(st.sampled_from([*LEVELS, "message"]), texts), max_size=4),
    variables=st.lists(st.tuples(VARIABLE_NAMES, system_texts), max_size=3),
    secret=secrets,
    end=st.tuples(st.sampled_from(Verdict), st.integers(0, 999_999)),
)
def test_answer_says_what_was_said_and_no_secret(
    lines: list[tuple[str, str]],
    variables: list[tuple[str, str]],
    secret: str,
    end: tuple[Verdict, int],
) -> None:
    sent = bytearray()
    writer = AnswerWriter(sent.extend)
    writer.redactor.add([secret])
    for level, text in lines:
        if level == "message":
            writer.send_message(secret + text)
        else:
            writer.log(LEVELS[level], text + secret)
    writer.send_variables(variables)
    writer.end(*end)
    answer = read_answer(in_pieces(bytes(sent), 16))
    assert (answer.variables, answer.verdict, answer.held) == (variables, end[0].value, end[1])
    shown = [*(text for _, text in answer.logs), *answer.messages]
    # A warning or an error is told once, as it is shown.
    told = [line for line in answer.logs if line[0] == "e" or line[1].startswith("warning: ")]
    assert len(told) == len(set(told))
    untold = [level for level, _ in lines if level in {"message", "info", "debug"}]
    assert len(shown) == len(told) + len(untold)
    for line in shown:
        assert line.isprintable()
        assert MARK not in line
