# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's boundary in this process: whatever comes in or goes wrong becomes one answer."""

import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spank_qrmi.answer import AnswerWriter
from spank_qrmi.deadline import Deadline
from spank_qrmi.network.worker_side import Network
from spank_qrmi.protocol import VERSION, Request, Verb, Verdict
from spank_qrmi.state import counts
from spank_qrmi.worker import process as worker
from spank_qrmi_simulator.qrmi_config import site_config, write_config
from spank_qrmi_simulator.server import running_in_thread
from spank_qrmi_simulator.site import Site
from tests.unit.conversation import ServingWorker, joined
from tests.unit.local_network import LocalNetwork

REQUEST = Request(Verb.ACQUIRE, 7, 0, 0, 1000, 60)
WAIT_SECONDS = 60

VerbFunction = Callable[[Request, Deadline, AnswerWriter, Network], None]


def raising(error: BaseException) -> VerbFunction:
    def verb(request: Request, deadline: Deadline, answer: AnswerWriter, network: Network) -> None:
        raise error

    return verb


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", "message ends in the middle"),
        (b"nonsense", "message does not start with the preamble"),
        (joined([(b".", b"")]), "request asks for something unknown"),
    ],
)
def test_malformed_request_becomes_a_verdict(
    serving: ServingWorker, message: bytes, expected: str
) -> None:
    answer = serving.ask(message)
    assert (answer.messages, answer.logged("e")) == ([f"--qpu: {expected}"], [])
    assert (answer.held, answer.verdict) == (1, "fail")


@pytest.mark.parametrize(
    "error", [SystemExit(0), KeyboardInterrupt(), MemoryError(), ValueError("secret text")]
)
def test_whatever_a_verb_raises_becomes_a_verdict(
    serving: ServingWorker, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setitem(worker._VERBS, Verb.ACQUIRE, raising(error))
    answer = serving.ask(REQUEST)
    text = f"internal error of the QPU worker ({type(error).__name__})"
    assert (answer.messages, answer.logged("e")) == ([f"--qpu: {text}"], [])
    assert (answer.held, answer.verdict) == (1, "fail")
    [place] = answer.logged("d")
    assert place.startswith(f"internal error: {type(error).__name__} at {__file__}:")
    assert "secret text" not in answer.everything_readable


@pytest.mark.parametrize("verb", [Verb.QRUN_ENVIRONMENT, Verb.QRUN_CLEANUP])
def test_failure_names_the_option_that_the_user_gave(
    serving: ServingWorker, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    monkeypatch.setitem(worker._VERBS, verb, raising(ValueError("secret text")))
    answer = serving.ask(replace(REQUEST, verb=verb))
    assert answer.messages == ["--q-backend: internal error of the QPU worker (ValueError)"]
    assert answer.verdict == "fail"


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_plugin_of_another_release_is_answered_in_its_own_version(
    serving: ServingWorker, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    def verb(request: Request, deadline: Deadline, answer: AnswerWriter, network: Network) -> None:
        answer.end(Verdict.RUN)

    monkeypatch.setitem(worker._VERBS, Verb.RELEASE, verb)
    released = serving.ask(replace(REQUEST, verb=Verb.RELEASE, version=version))
    assert (released.messages, released.verdict) == ([], "run")
    refused = serving.ask(replace(REQUEST, version=version))
    [message] = refused.messages
    assert message.startswith("--qpu: the plugin and the QPU worker on this node are of different ")
    assert refused.verdict == "fail"


def test_error_after_a_part_of_the_answer_becomes_a_verdict(
    serving: ServingWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verb(request: Request, deadline: Deadline, answer: AnswerWriter, network: Network) -> None:
        answer.send_variables([("A", "1")])
        answer.send_variables([("B", "\0")])

    monkeypatch.setitem(worker._VERBS, Verb.ACQUIRE, verb)
    answer = serving.ask(REQUEST)
    assert answer.messages == ["--qpu: record b'e' holds a NUL byte"]
    assert (answer.variables, answer.verdict) == ([("A", "1")], "fail")


def test_lines_of_every_module_arrive(
    serving: ServingWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verb(request: Request, deadline: Deadline, answer: AnswerWriter, network: Network) -> None:
        log = logging.getLogger("spank_qrmi.clients")
        log.debug("of a client: %d%%", 5)
        log.info("100%")
        log.warning("of a file")
        log.error("of all")
        logging.getLogger("library").error("of a library")
        answer.end(Verdict.RUN)

    monkeypatch.setitem(worker._VERBS, Verb.ACQUIRE, verb)
    assert serving.ask(REQUEST).logs == [
        ("d", "of a client: 5%"),
        ("i", "100%"),
        ("i", "warning: of a file"),
        ("e", "of all"),
    ]


def test_plugin_that_is_gone_ends_the_worker(
    serving: ServingWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        worker.serve(theirs, LocalNetwork())
        assert theirs.recv(1) == b""


@pytest.mark.parametrize("how", ["shut down", "closed", "reset"])
def test_plugin_that_closes_its_side_cancels_the_deadline(how: str) -> None:
    deadline = Deadline(60)
    ours, theirs = socket.socketpair()
    before = set(threading.enumerate())
    with ours, theirs:
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


def test_work_goes_on_without_a_thread_that_watches_the_plugin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    deadline = Deadline(60)
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(threading.Thread, "start", start)
    with ours, theirs:
        worker._cancel_when_abandoned(theirs, deadline)
    assert not deadline.is_cancelled()


def test_release_is_not_cancelled_by_a_plugin_that_is_gone(
    serving: ServingWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verb(request: Request, deadline: Deadline, answer: AnswerWriter, network: Network) -> None:
        answer.end(Verdict.RUN)

    for each in Verb:
        monkeypatch.setitem(worker._VERBS, each, verb)
    serving.ask(replace(REQUEST, verb=Verb.RELEASE))
    assert serving.deadlines == []
    serving.ask(REQUEST)
    assert len(serving.deadlines) == 1


def test_three_vendors_are_acquired_and_released(serving: ServingWorker, tmp_path: Path) -> None:
    names = ["ibm_torino", "ibm_sherbrooke", "FRESNEL"]
    site = Site()
    with running_in_thread(site) as base_url:
        write_config(tmp_path / "qrmi_config.json", site_config(base_url))
        arguments = (str(tmp_path / "qrmi_config.json"), f"--state-dir={tmp_path}/state")
        acquiring = Request(
            Verb.ACQUIRE, 7, 0, 0, 1000, 60, qpu_option=",".join(names), arguments=arguments
        )
        answer = serving.ask(acquiring)
        assert (answer.messages, answer.held, answer.verdict) == ([], 3, "run")
        assert dict(answer.variables)["SLURM_JOB_QPU_RESOURCES"] == ",".join(names)
        [session] = site.sessions()
        token = dict(answer.variables)["ibm_sherbrooke_QRMI_JOB_ACQUISITION_TOKEN"]
        assert (session.session_id, session.accepting_jobs) == (token, True)
        released = serving.ask(Request(Verb.RELEASE, 7, 0, 0, 1000, 60, arguments=arguments))
        assert (released.messages, released.held, released.verdict) == ([], 0, "run")
        assert site.sessions()[0].accepting_jobs is False
    # What the service has agreed to close is no job's any longer.
    names = {each.name[:5] for each in (tmp_path / "state").iterdir()}
    assert names - {counts.FOLDER_NAME[:5]} == {"told-"}
