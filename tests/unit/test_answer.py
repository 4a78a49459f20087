# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's answer as it is written: order, levels, redaction and its end."""

import logging
import threading

import pytest

from spank_qrmi.answer import MAX_LINE_LENGTH, AnswerWriter
from spank_qrmi.errors import ProtocolError
from spank_qrmi.protocol import MAX_PAYLOAD_BYTES, Verdict
from tests.unit.conversation import SeenAnswer, in_pieces, read_answer

SECRET = "secret-value"


class Pipe:
    """Takes what is sent; `answer` reads it."""

    def __init__(self) -> None:
        self.sent = b""
        self.writer = AnswerWriter(self.send)

    def send(self, data: bytes) -> None:
        self.sent += data

    def answer(self) -> SeenAnswer:
        return read_answer(in_pieces(self.sent, 1 << 20))

    def ended(self) -> SeenAnswer:
        """Return the answer once it has been ended."""
        self.writer.end(Verdict.RUN)
        return self.answer()


@pytest.fixture
def pipe() -> Pipe:
    pipe = Pipe()
    pipe.writer.redactor.add([SECRET])
    return pipe


def test_answer_is_sent_as_it_comes(pipe: Pipe) -> None:
    pipe.writer.log(logging.DEBUG, "first")
    assert pipe.sent.endswith(b"first")
    pipe.writer.send_message("second")
    pipe.writer.send_variables([("NAME", "a=b\nc")])
    pipe.writer.end(Verdict.FAIL, left_count=3)
    variables = [("NAME", "a=b\nc")]
    assert pipe.answer() == SeenAnswer([("d", "first")], variables, ["second"], 3, "fail")


def test_messages_beyond_the_eighth_go_to_the_log_and_the_conclusion_is_told(pipe: Pipe) -> None:
    texts = [str(number) for number in range(10)]
    for text in texts:
        pipe.writer.send_message(text)
    pipe.writer.end(Verdict.FAIL, 0, "in vain")
    answer = pipe.answer()
    more = "and 2 more: slurmd's log has them at info level"
    assert answer.messages == [*texts[:8], more, "in vain"]
    assert answer.logs == [("i", "8"), ("i", "9")]


def test_nothing_is_held_unless_said(pipe: Pipe) -> None:
    assert pipe.ended() == SeenAnswer(held=0, verdict="run")


def test_levels_of_log_records_of_which_trouble_is_told_once(pipe: Pipe) -> None:
    for level in (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG):
        for _ in range(2):
            pipe.writer.log(level, "text")
    pipe.writer.end(Verdict.RUN)
    once = [("e", "text"), ("i", "warning: text")]
    assert pipe.answer().logs == [*once, *[("i", "text")] * 2, *[("d", "text")] * 2]


def test_readable_text_is_cleared_and_limited(pipe: Pipe) -> None:
    pipe.writer.send_message(f"{SECRET}\n{'ü' * MAX_LINE_LENGTH}")
    pipe.writer.log(logging.ERROR, f"{SECRET}\udcff")
    answer = pipe.ended()
    assert answer.messages == [f"****?{'ü' * 993} … {'ü' * 998}"]
    assert len(answer.messages[0]) == MAX_LINE_LENGTH - 1
    assert answer.logs == [("e", "****?")]


def test_variables_keep_secrets_and_foreign_bytes(pipe: Pipe) -> None:
    pipe.writer.send_variables([("A_TOKEN", f"{SECRET}\udcff")])
    assert pipe.ended().variables == [("A_TOKEN", f"{SECRET}\udcff")]


def test_variable_that_cannot_be_one_is_refused_and_not_sent(pipe: Pipe) -> None:
    for value in ("a\0b", "x" * MAX_PAYLOAD_BYTES):
        with pytest.raises(ProtocolError):
            pipe.writer.send_variables([("NAME", value)])
    assert pipe.ended().variables == []


def test_nothing_is_logged_after_the_end(pipe: Pipe) -> None:
    pipe.writer.end(Verdict.RUN)
    pipe.writer.log(logging.ERROR, "late")
    assert pipe.answer() == SeenAnswer(held=0, verdict="run")


def test_late_thread_cannot_log_into_the_end() -> None:
    """A thread that is still in a look-up may log while the answer is being ended."""
    late_threads: list[threading.Thread] = []
    sent: list[bytes] = []

    def send_while_another_logs(data: bytes) -> None:
        sent.append(data)
        if data.startswith(b"."):
            late = threading.Thread(target=writer.log, args=(logging.DEBUG, "late"))
            late_threads.append(late)
            late.start()
            late.join(0.05)

    writer = AnswerWriter(send_while_another_logs)
    writer.end(Verdict.RUN)
    for thread in late_threads:
        thread.join()
    assert read_answer(in_pieces(b"".join(sent), 1 << 20)).logs == []
