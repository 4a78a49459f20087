# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's answer as it is written: order, levels, redaction and its end."""

import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.targets.claims import is_variable_name
from spank_qrmi.answer import MAX_LINE_LENGTH, AnswerWriter
from spank_qrmi.errors import ProtocolError
from spank_qrmi.protocol import MAX_PAYLOAD_BYTES, Verdict
from tests.unit.conversation import SeenAnswer, in_pieces, read_answer
from tests.unit.strategies import MARK, secrets, system_texts, texts

SECRET = "secret-value"
LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


class Pipe(AnswerWriter):
    """Writes an answer; `seen` reads it."""

    def __init__(self, secret: str = SECRET) -> None:
        self.sent = bytearray()
        super().__init__(self.sent.extend)
        self.redactor.add([secret])

    def seen(self) -> SeenAnswer:
        return read_answer(in_pieces(bytes(self.sent), 16))


def test_answer_is_sent_as_it_comes_but_no_variable_that_cannot_be_one() -> None:
    pipe = Pipe()
    pipe.log(logging.DEBUG, "first")
    assert pipe.sent.endswith(b"first")
    pipe.send_message("second")
    for value in ("a\0b", "x" * MAX_PAYLOAD_BYTES):
        with pytest.raises(ProtocolError):
            pipe.send_variables([("NAME", value)])
    variables = [("NAME", "a=b\nc"), ("A_TOKEN", f"{SECRET}\udcff")]
    pipe.send_variables(variables)
    pipe.end(Verdict.FAIL, left_count=3)
    assert pipe.seen() == SeenAnswer([("d", "first")], variables, ["second"], 3, "fail")


def test_messages_beyond_the_eighth_go_to_the_log_and_the_conclusion_is_told() -> None:
    pipe = Pipe()
    texts = [str(number) for number in range(10)]
    for text in texts:
        pipe.send_message(text)
    pipe.end(Verdict.FAIL, 0, "in vain")
    logs = [("i", "8"), ("i", "9")]
    more = "and 2 more: slurmd's log has them at info level"
    assert pipe.seen() == SeenAnswer(logs, [], [*texts[:8], more, "in vain"], 0, "fail")


def test_levels_of_log_records_of_which_trouble_is_told_once() -> None:
    pipe = Pipe()
    for level in LEVELS:
        for _ in range(2):
            pipe.log(level, "text")
    pipe.end(Verdict.RUN)
    once = [("e", "text"), ("i", "warning: text")]
    assert pipe.seen().logs == [*once, *[("i", "text")] * 2, *[("d", "text")] * 2]


def test_readable_text_is_cleared_and_limited() -> None:
    pipe = Pipe()
    pipe.send_message(f"{SECRET}\n{'ü' * MAX_LINE_LENGTH}")
    pipe.log(logging.ERROR, f"{SECRET}\udcff")
    pipe.end(Verdict.RUN)
    shown = f"****?{'ü' * 993} … {'ü' * 998}"
    assert len(shown) == MAX_LINE_LENGTH - 1
    assert pipe.seen() == SeenAnswer([("e", "****?")], [], [shown], 0, "run")


def test_nothing_is_logged_into_the_end_nor_after_it() -> None:
    """A thread that is still in a look-up may log while the answer is being ended."""
    sent = bytearray()

    def send_while_another_logs(data: bytes) -> None:
        sent.extend(data)
        if data.startswith(b"."):
            late.start()
            late.join(0.05)

    writer = AnswerWriter(send_while_another_logs)
    late = threading.Thread(target=writer.log, args=(logging.DEBUG, "late"))
    writer.end(Verdict.RUN)
    late.join()
    writer.log(logging.ERROR, "later")
    assert read_answer(in_pieces(bytes(sent), 99)) == SeenAnswer(held=0, verdict="run")


@given(
    lines=st.lists(st.tuples(st.sampled_from(LEVELS) | st.none(), texts), max_size=4),
    variables=st.lists(st.tuples(system_texts.filter(is_variable_name), system_texts), max_size=3),
    secret=secrets,
    end=st.tuples(st.sampled_from(Verdict), st.integers(0, 999_999)),
)
def test_answer_says_what_was_said_and_no_secret(
    lines: list[tuple[int | None, str]],
    variables: list[tuple[str, str]],
    secret: str,
    end: tuple[Verdict, int],
) -> None:
    pipe = Pipe(secret)
    for level, text in lines:
        if level is None:
            pipe.send_message(secret + text)
        else:
            pipe.log(level, text + secret)
    pipe.send_variables(variables)
    pipe.end(*end)
    answer = pipe.seen()
    assert (answer.variables, answer.verdict, answer.held) == (variables, end[0].value, end[1])
    shown = [*(text for _, text in answer.logs), *answer.messages]
    # A warning or an error is told once, as it is shown.
    told = [line for line in answer.logs if line[0] == "e" or line[1].startswith("warning: ")]
    assert len(told) == len(set(told))
    others = [level for level, _ in lines if level in {None, logging.INFO, logging.DEBUG}]
    assert len(shown) == len(told) + len(others)
    for line in shown:
        assert line.isprintable()
        assert MARK not in line
