# SPDX-License-Identifier: GPL-3.0-or-later
"""Services asked through the network process: the same answers, and one error whatever it does."""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from spank_qrmi.clients import CLIENTS, retry
from spank_qrmi.clients.base import Exchange, Hold, OneTimeCredentials, Settings
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import (
    AcquisitionError,
    ArgumentError,
    CredentialError,
    PrivilegeError,
    QrmiError,
    ServiceError,
    VariableError,
)
from spank_qrmi.network import worker_side
from spank_qrmi.network.calls import ResourceCalls
from spank_qrmi.network.messages import (
    MAX_FRAME_BYTES,
    NONSENSE,
    WHO,
    Order,
    Report,
    encode_frame,
    read_frame,
)
from spank_qrmi.network.process import CallServer
from spank_qrmi.network.worker_side import Network
from spank_qrmi.state.token_cache import TokenCache
from spank_qrmi.status import QpuState, QpuStatus
from spank_qrmi.trust import munge, worker_user
from spank_qrmi.trust.worker_user import DEFAULT_WORKER_USER, ids_of
from tests.unit.fake_vendor import HOLD_SECONDS, TYPE, FakeVendor
from tests.unit.munge_credentials import MUNGE_START, write_munge
from tests.unit.outcomes import outcome_of, refusal_of, trying

PATIENCE_SECONDS = 60
# Nothing can be kept there.
NO_TOKENS = TokenCache("/dev/null/none")
SETTINGS = Settings("a", {"QRMI_KEY": "secret"}, 60, uid=1000)
ENDED = f"{WHO} ended before it had answered"
SILENT = f"{WHO} did not answer in time"


@contextmanager
def served(serve: Callable[[socket.socket], object]) -> Iterator[Network]:
    """Let a function in a thread be the network process."""
    ours, theirs = socket.socketpair()

    def run() -> None:
        with theirs, contextlib.suppress(OSError):
            serve(theirs)

    thread = threading.Thread(target=run)
    thread.start()
    # In place of the process that a thread is not: what is ended and waited for.
    network = Network(ours, os.posix_spawnp("sleep", ["sleep", "600"], os.environ))
    try:
        yield network
    finally:
        network.close()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


@contextmanager
def opened(
    serve: Callable[[socket.socket], object],
    cache: TokenCache = NO_TOKENS,
    variables: Sequence[dict[str, str]] = ({}, {"A": "1"}),
) -> Iterator[Network]:
    with served(serve) as network:
        network.open([*variables], DEFAULT_WORKER_USER, 60, cache)
        network.wait_until_open(Deadline(PATIENCE_SECONDS))
        yield network


@contextmanager
def calls_by(
    serve: Callable[[socket.socket], object],
    settings: Settings = SETTINGS,
    *,
    type_name: str = TYPE,
    seconds: float = 60,
    cache: TokenCache = NO_TOKENS,
) -> Iterator[ResourceCalls]:
    """Give what asks about one resource by such a process."""
    with opened(serve, cache=cache) as network:
        yield network.services(Deadline(seconds), {}).resource_calls(type_name, settings)


def real(channel: socket.socket) -> None:
    """Serve as the network process does, but keep the rights that there are."""
    server = CallServer(channel, lambda user, seconds: None)
    try:
        server.serve()
    finally:
        for client in server._clients:
            if isinstance(client, HttpClient):
                client.__exit__(None, None, None)


def answering_calls(
    answer: Callable[[list[str]], list[bytes]], heard: list[list[str]], *, ends: bool = False
) -> Callable[[socket.socket], None]:
    """Return a process that gets ready, answers each call so, and `ends` with the first.

    All frames that have come are added to those that it has `heard`.
    """

    def serve(channel: socket.socket) -> None:
        channel.sendall(encode_frame(Report.OPENED))
        while (frame := read_frame(channel.recv, MAX_FRAME_BYTES)) is not None:
            heard.append(frame)
            if frame[0] == Order.CALL.value:
                channel.sendall(b"".join(answer(frame)))
                if ends:
                    return

    return serve


def answering(*answers: bytes) -> Callable[[socket.socket], None]:
    """Return a process that answers the first call so, and ends."""

    def answer(call: list[str]) -> list[bytes]:
        return [each.replace(b"CALL", call[1].rjust(4, "0").encode()) for each in answers]

    return answering_calls(answer, [], ends=True)


HANGING = answering_calls(lambda call: [], [])
"""Gets ready, and answers nothing."""


def test_worker_that_may_start_no_thread_says_so_and_has_asked_nothing(
    vendor: FakeVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Mock(side_effect=RuntimeError("can't start new thread"))
    with calls_by(real) as client, served(real) as network:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            with pytest.raises(QrmiError, match="the worker may start no more threads: raise "):
                network.open([{}], DEFAULT_WORKER_USER, 60, NO_TOKENS)
            with pytest.raises(ServiceError, match="no more threads") as caught:
                client.acquire()
        assert not caught.value.may_have_acted
        assert client.acquire() == "token-a"


def test_client_is_asked_there(vendor: FakeVendor) -> None:
    with calls_by(real) as client:
        assert client.hold == Hold("a hold on a", HOLD_SECONDS)
        client.check_accessible()
        assert client.full_status() == QpuStatus(QpuState.ONLINE)
        assert client.acquire() == "token-a"
        client.release("token-a")
    asked = ["make a", "check a", "check a", "acquire a", "release token-a"]
    assert (vendor.events[1:], vendor.settings["a"]) == (asked, SETTINGS)


def test_what_a_resource_is_told_by_crosses_once(vendor: FakeVendor) -> None:
    frames: list[list[str]] = []
    done = answering_calls(lambda call: [encode_frame(Report.DONE, call[1], "token-a")], frames)
    with calls_by(done) as calls:
        calls.check_accessible()
        calls.release(calls.acquire())
    [told] = [frame for frame in frames if "secret" in frame]
    number = told[2]
    assert told[3:] == [TYPE, "a", "60", "1000", "", "", "QRMI_KEY", "secret"]
    asked = [frame[3:] for frame in frames if frame[0] == Order.CALL.value]
    released = ["release", number, "0", "token-a", ""]
    assert asked == [["check", number, "0"], ["acquire", number, "0"], released]


def test_errors_come_from_there_and_of_settings_from_here(vendor: FakeVendor) -> None:
    broken = ServiceError("broken", status=502, may_have_acted=True)
    broken.token = "token-1"
    vendor.orders = {"acquire a": broken, "release x": ValueError("secret")}
    with opened(real) as network:
        services = network.services(Deadline(60), {})
        client = services.resource_calls(TYPE, SETTINGS)
        error = outcome_of(client.acquire)
        assert isinstance(error, ServiceError)
        assert (str(error), vars(error)) == ("broken", vars(broken))
        error = outcome_of(client.release, "x")
        assert isinstance(error, ServiceError)
        assert (str(error), error.may_have_acted) == ("internal error (ValueError)", True)
        vendor.orders = {"make a": AcquisitionError("no key")}
        vendor.events.clear()
        with pytest.raises(AcquisitionError, match=r"^no key$"):
            services.resource_calls(TYPE, SETTINGS)
        with pytest.raises(VariableError, match="IBMQRUN_DAAPI_ENDPOINT is not set"):
            services.quantum_jobs({})
    assert vendor.events == ["make a"]


def test_cancellation_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that would wait for its next try ends when the worker's work is cancelled."""
    monkeypatch.setattr(retry, "DELAYS_SECONDS", (1.5 * PATIENCE_SECONDS,))
    values = {"QRMI_PASQAL_CLOUD_BASE_URL": "http://127.0.0.1:9"}
    deadline = Deadline(2 * PATIENCE_SECONDS)
    with opened(real) as network, ThreadPoolExecutor(1) as threads:
        services = network.services(deadline, {})
        client = services.resource_calls("pasqal-cloud", Settings("FRESNEL", values))
        check = threads.submit(outcome_of, client.check_accessible)
        deadline.cancel()
        assert isinstance(check.result(PATIENCE_SECONDS), QrmiError)


def test_log_records_come_from_there_until_there_are_too_many(
    vendor: FakeVendor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_side, "_MOST_LOG_RECORDS", 3)
    records = [("40", "bad"), ("41", "x" * 9000), ("10", "%s\x1b[2J"), ("40", "more")]
    frames = [encode_frame(Report.LOG, *each) for each in records]
    with caplog.at_level(logging.DEBUG), calls_by(answering(*frames)) as client:
        assert refusal_of(ServiceError, client.check_accessible) == ENDED
    found = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert found == [("ERROR", "bad"), ("DEBUG", "x" * 4000), ("DEBUG", "%s?[2J")]


NO_ANSWERS = {
    b"": ENDED,
    b"\0\0": NONSENSE,
    b"GET / HTTP/1.1\r\n": NONSENSE,
    encode_frame(Report.LOG): NONSENSE,
    encode_frame(Report.LOG, "error", "x"): NONSENSE,
    encode_frame(Order.CALL): NONSENSE,
    encode_frame(Report.DONE): NONSENSE,
    encode_frame(Report.DONE, "999"): ENDED,
    encode_frame(Report.DONE, "CALL"): NONSENSE,
    encode_frame(Report.DONE, "CALL", "a", "b"): NONSENSE,
    encode_frame(Report.DONE, "CALL", "LD_PRELOAD\n"): NONSENSE,
    encode_frame(Report.FAILED, "CALL", "SystemExit", "a", "", "", ""): NONSENSE,
}


def acquisition_by(client: ResourceCalls) -> tuple[str, bool]:
    with pytest.raises(ServiceError) as caught:
        client.acquire()
    return str(caught.value), caught.value.may_have_acted


def test_acquisition_that_is_not_answered_may_have_happened(vendor: FakeVendor) -> None:
    for answer, expected in NO_ANSWERS.items():
        with trying(answer), calls_by(answering(answer)) as client:
            assert acquisition_by(client) == (expected, True)
    with calls_by(HANGING, seconds=0.1) as client:
        assert acquisition_by(client) == (SILENT, True)
    # What is never sent cannot have acted.
    with calls_by(answering(b"")) as client:
        assert refusal_of(ServiceError, client.check_accessible) == ENDED
        assert acquisition_by(client) == (ENDED, False)


def test_reason_why_nothing_can_be_asked() -> None:
    for answer, expected in (
        (encode_frame(Report.REFUSED, "no\nsuch user"), "no?such user"),
        (encode_frame(Report.REFUSED), NONSENSE),
        (b"", ENDED),
        (b"nonsense", NONSENSE),
    ):

        def refuse(channel: socket.socket, answer: bytes = answer) -> None:
            read_frame(channel.recv, MAX_FRAME_BYTES)
            channel.sendall(answer)

        assert refusal_of(QrmiError, opened(refuse).__enter__) == expected
    with served(lambda channel: channel.recv(65536) and channel.recv(1)) as network:
        network.open([], DEFAULT_WORKER_USER, 60, NO_TOKENS)
        with pytest.raises(QrmiError, match=SILENT):
            network.wait_until_open(Deadline(0.1))


def test_nothing_is_asked_with_roots_rights() -> None:
    for error, expected in (
        (PrivilegeError("root cannot be given up"), "root cannot be given up"),
        (ValueError("secret"), "requests cannot be made: ValueError at "),
    ):
        keep_root = Mock(side_effect=error)
        network = opened(lambda channel, keep=keep_root: CallServer(channel, keep).serve())
        assert str(refusal_of(QrmiError, network.__enter__)).startswith(expected)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(encode_frame(Order.OPEN, DEFAULT_WORKER_USER, "60") * 2)
            ours.shutdown(socket.SHUT_WR)
            CallServer(theirs, keep_root).serve()
            theirs.shutdown(socket.SHUT_WR)
            [order, reason] = read_frame(ours.recv, MAX_FRAME_BYTES)
            assert (order, reason.startswith(expected)) == (Report.REFUSED.value, True)
            assert ours.recv(1) == b""


def test_unusable_variables_fail_their_own_requests_alone(vendor: FakeVendor) -> None:
    variables = [{"SSL_CERT_FILE": "/nowhere"}, {}]
    with opened(real, variables=variables) as network:
        bad, good = (
            network.services(Deadline(60), each).resource_calls(TYPE, SETTINGS)
            for each in variables
        )
        good.check_accessible()
        with pytest.raises(ServiceError, match="cannot prepare requests"):
            bad.check_accessible()
        with pytest.raises(QrmiError, match="does not know the variables"):
            network.services(Deadline(60), {"B": ""})


def test_user_has_its_group_and_one_by_number_nobodys_and_none_is_root(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (ids_of("daemon"), ids_of("1234")) == ((1, 1), (1234, 65534))
    with pytest.raises(ArgumentError, match="--worker-user=no-such: this node knows no such user"):
        ids_of("no-such")
    for uid, gid in ((0, 1), (1, 0)):
        account = Mock(pw_uid=uid, pw_gid=gid)
        monkeypatch.setattr(worker_user.pwd, "getpwnam", Mock(return_value=account))
        text = refusal_of(ArgumentError, ids_of, "toor")
        assert "is root, or in its group" in str(text)


@pytest.fixture
def proved(
    vendor: FakeVendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[OneTimeCredentials]:
    """What a vendor is given that wants two MUNGE credentials to acquire."""
    write_munge(tmp_path)
    monkeypatch.setattr(munge, "FOLDERS", [str(tmp_path)])
    given: list[OneTimeCredentials] = []

    def acquire(_: object, exchange: Exchange) -> str:
        given.append(exchange.credentials)
        return "token-a"

    monkeypatch.setattr(CLIENTS[TYPE], "acquire", acquire)
    monkeypatch.setattr(CLIENTS[TYPE], "munge_credentials", {"acquire": 2})
    return given


OF_THE_SITE = replace(SETTINGS, has_sites_login=True)


def test_call_has_as_many_credentials_as_it_needs(proved: list[OneTimeCredentials]) -> None:
    hidden: list[str] = []
    with calls_by(real, OF_THE_SITE, cache=TokenCache("/dev/null/none", hidden.extend)) as calls:
        assert [calls.acquire() for _ in range(2)] == ["token-a"] * 2
        calls.check_accessible()
    assert [each.left for each in proved] == [2, 2]
    assert hidden == [text for each in proved for text in each.secrets]
    assert len(set(hidden)) == 4
    assert all(text.startswith(MUNGE_START) for text in hidden)


def test_credentials_are_made_for_the_sites_endpoint_alone(
    proved: list[OneTimeCredentials], monkeypatch: pytest.MonkeyPatch
) -> None:
    with calls_by(real) as calls:
        with pytest.raises(CredentialError, match="goes to no endpoint of a user's"):
            calls.acquire()
        calls.check_accessible()
    # What cannot be proved is not asked either.
    monkeypatch.setattr(munge, "FOLDERS", ["/nowhere"])
    with calls_by(real, OF_THE_SITE) as calls:
        assert "no munge on this node" in str(refusal_of(CredentialError, calls.acquire))
    assert proved == []
