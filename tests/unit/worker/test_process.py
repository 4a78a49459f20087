# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's boundary in this process: whatever comes in or goes wrong becomes one answer."""

import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from unittest.mock import Mock

import pytest

from spank_qrmi.answer import AnswerWriter
from spank_qrmi.deadline import Deadline
from spank_qrmi.protocol import VERSION, Request, Verb, Verdict
from spank_qrmi.worker import process as worker
from tests.unit.conversation import ServingWorker, joined
from tests.unit.local_network import LocalNetwork
from tests.unit.outcomes import trying

REQUEST = Request(Verb.ACQUIRE, 7, 0, 0, 1000, 60)
WAIT_SECONDS = 60

SetVerb = Callable[[Callable[[AnswerWriter], None]], None]


@pytest.fixture
def set_verb(monkeypatch: pytest.MonkeyPatch) -> SetVerb:
    """What lets every verb do this with its answer."""

    def set_all(do: Callable[[AnswerWriter], None]) -> None:
        for each in Verb:
            monkeypatch.setitem(worker._VERBS, each, lambda _, __, answer, ___: do(answer))

    return set_all


def test_malformed_request_becomes_a_verdict(serving: ServingWorker) -> None:
    answer = serving.ask(joined([(b".", b"")]))
    assert answer.messages == ["--qpu: request asks for something unknown"]
    assert (answer.logged("e"), answer.held, answer.verdict) == ([], 1, "fail")


@pytest.mark.parametrize(
    ("verb", "option", "error"),
    [
        (Verb.ACQUIRE, "--qpu", SystemExit(0)),
        (Verb.RELEASE, "--qpu", ValueError("secret text")),
        (Verb.QRUN_ENVIRONMENT, "--q-backend", ValueError("secret text")),
        (Verb.QRUN_CLEANUP, "--q-backend", ValueError("secret text")),
    ],
)
def test_whatever_a_verb_raises_becomes_a_verdict_on_the_users_option(
    serving: ServingWorker, set_verb: SetVerb, verb: Verb, option: str, error: BaseException
) -> None:
    def do(answer: AnswerWriter) -> None:
        raise error

    set_verb(do)
    answer = serving.ask(replace(REQUEST, verb=verb))
    text = f"internal error of the QPU worker ({type(error).__name__})"
    assert (answer.messages, answer.logged("e")) == ([f"{option}: {text}"], [])
    assert (answer.held, answer.verdict) == (1, "fail")
    [place] = answer.logged("d")
    assert place.startswith(f"internal error: {type(error).__name__} at {__file__}:")
    assert "secret text" not in answer.everything_readable


def test_plugin_of_another_release_is_answered_in_its_own_version(
    serving: ServingWorker, set_verb: SetVerb
) -> None:
    set_verb(lambda answer: answer.end(Verdict.RUN))
    different = "--qpu: the plugin and the QPU worker on this node are of different "
    for version in (VERSION - 1, VERSION + 1):
        released = serving.ask(replace(REQUEST, verb=Verb.RELEASE, version=version))
        assert (released.messages, released.verdict) == ([], "run"), version
        refused = serving.ask(replace(REQUEST, version=version))
        [message] = refused.messages
        assert (message.startswith(different), refused.verdict) == (True, "fail"), version


def test_error_after_a_part_of_the_answer_becomes_a_verdict(
    serving: ServingWorker, set_verb: SetVerb
) -> None:
    def do(answer: AnswerWriter) -> None:
        answer.send_variables([("A", "1")])
        answer.send_variables([("B", "\0")])

    set_verb(do)
    answer = serving.ask(REQUEST)
    assert answer.messages == ["--qpu: record b'e' holds a NUL byte"]
    assert (answer.variables, answer.verdict) == ([("A", "1")], "fail")


def test_lines_of_every_module_arrive(serving: ServingWorker, set_verb: SetVerb) -> None:
    def do(answer: AnswerWriter) -> None:
        log = logging.getLogger("spank_qrmi.clients")
        log.debug("of a client: %d%%", 5)
        log.info("100%")
        log.warning("of a file")
        log.error("of all")
        logging.getLogger("library").error("of a library")
        answer.end(Verdict.RUN)

    set_verb(do)
    assert serving.ask(REQUEST).logs == [
        ("d", "of a client: 5%"),
        ("i", "100%"),
        ("i", "warning: of a file"),
        ("e", "of all"),
    ]


def test_plugin_that_is_gone_ends_the_worker(serving: ServingWorker) -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        worker.serve(theirs, LocalNetwork())
        assert theirs.recv(1) == b""


def test_plugin_that_closes_its_side_cancels_the_deadline_unless_no_thread_watches_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for how in ("shut down", "closed", "reset"):
        deadline = Deadline(60)
        ours, theirs = socket.socketpair()
        before = set(threading.enumerate())
        with trying(how), ours, theirs:
            worker._cancel_when_abandoned(theirs, deadline)
            [waiting] = set(threading.enumerate()) - before
            ours.sendall(b"more than the request means nothing")
            if how == "reset":
                theirs.sendall(b"what nobody reads resets the connection")
            assert not deadline.is_cancelled()
            if how == "shut down":
                ours.shutdown(socket.SHUT_WR)
            else:
                ours.close()
            waiting.join(WAIT_SECONDS)
            assert deadline.is_cancelled()
            assert not waiting.is_alive()
    # Work goes on without a thread.
    deadline = Deadline(60)
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("no thread")))
    with ours, theirs:
        worker._cancel_when_abandoned(theirs, deadline)
    assert not deadline.is_cancelled()


def test_release_is_not_cancelled_by_a_plugin_that_is_gone(
    serving: ServingWorker, set_verb: SetVerb
) -> None:
    set_verb(lambda answer: answer.end(Verdict.RUN))
    for verb in Verb:
        serving.ask(replace(REQUEST, verb=verb))
        assert len(serving.deadlines) == int(verb is Verb.ACQUIRE), verb
        serving.deadlines.clear()
