# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that are slow, broken or silent, on real sockets."""

import contextlib
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from spank_qrmi.clients import connections
from spank_qrmi.clients.answer import Answer
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.transport import Limits
from spank_qrmi.deadline import Deadline
from tests.unit.fake_services import (
    FakeService,
    RecordingDeadline,
    failure_of,
    reply,
)

pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


@contextmanager
def local_server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Run `serve` for each connection on a local port; give the URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=serve_quietly, args=(connection,), daemon=True).start()

    def serve_quietly(connection: socket.socket) -> None:
        try:
            connection.recv(65536)
            serve(connection)
        except OSError:
            return

    threading.Thread(target=run, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/path"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            connection.close()


def drip(start: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(b"x")
            time.sleep(0.01)

    return serve


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "],
    ids=["body", "headers"],
)
@pytest.mark.parametrize("is_repeatable", [True, False])
def test_an_answer_that_drips_ends_at_the_deadline(start: bytes, is_repeatable: bool) -> None:
    with local_server(drip(start)) as url, HttpClient(Deadline(0.3)) as http:
        error, _ = failure_of(
            lambda: http.request("GET", url, headers={}, is_repeatable=is_repeatable)
        )
        assert error.may_have_acted is not is_repeatable


def test_truncated_answer_of_what_opens_a_session_may_have_acted() -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(b'HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{"id":')
        connection.shutdown(socket.SHUT_RDWR)

    with local_server(serve) as url, HttpClient(RecordingDeadline()) as http:
        error, text = failure_of(
            lambda: http.request("POST", url, headers={}, json={}, is_repeatable=False)
        )
    assert error.may_have_acted
    assert error.partial_body == b'{"id":'
    assert text.startswith("the connection broke before the answer of http://127.0.0.1:")


def test_late_answer_of_what_opens_a_session_is_still_read() -> None:
    deadline = RecordingDeadline(0.2)

    def serve(connection: socket.socket) -> None:
        while deadline.remaining_seconds() > 0:
            time.sleep(0.01)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with local_server(serve) as url, HttpClient(deadline) as http:
        answer = http.request("POST", url, headers={}, json={}, is_repeatable=False)
        assert answer.json_object() == {}
        _, text = failure_of(lambda: http.request("GET", url, headers={}, is_repeatable=True))
        assert text.startswith("no time is left")


@pytest.mark.parametrize(("status", "expected"), [(b"200 OK", b'{"id": "s-1"'), (b"500 Oh", b"")])
def test_answer_that_does_not_end_tells_what_came(status: bytes, expected: bytes) -> None:
    start = b"HTTP/1.1 " + status + b'\r\nContent-Length: 900000\r\n\r\n{"id": "s-1"'
    with local_server(drip(start)) as url, HttpClient(Deadline(0.2)) as http:
        error, _ = failure_of(lambda: http.request("POST", url, headers={}, is_repeatable=False))
    assert error.may_have_acted
    assert error.partial_body.startswith(expected)
    assert bool(error.partial_body) is bool(expected)


def test_clients_own_variables_win_over_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def proxy(connection: socket.socket) -> None:
        asked.append(b"")
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NEW_NAME", raising=False)
    with local_server(proxy) as url, HttpClient(Deadline(10)) as http:
        http.open_with({"http_proxy": url.removesuffix("/path"), "NEW_NAME": "1"})
        assert os.environ["http_proxy"] == "http://127.0.0.1:9"
        assert "NEW_NAME" not in os.environ
        http.request("GET", "http://service.test/", headers={}, is_repeatable=True)
    assert len(asked) == 1


def test_variables_of_one_client_do_not_reach_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are opened between this one's opening and its first request."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    monkeypatch.delenv("http_proxy", raising=False)
    with local_server(answer) as url, HttpClient(Deadline(10)) as http:
        http.open_with({})
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        http.request("GET", url, headers={}, is_repeatable=True)


def test_unusable_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with HttpClient(Deadline(10)) as http:
        _, text = failure_of(lambda: http.open_with({"SSL_CERT_FILE": "/nowhere"}))
    assert text == (
        "cannot prepare requests: SSL_CERT_FILE: /nowhere cannot be read as certificates "
        "(no such file or directory): give the path of a file in PEM format"
    )
    assert "SSL_CERT_FILE" not in os.environ


def test_refused_connection_is_repeated_and_readable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    deadline = RecordingDeadline()
    with HttpClient(deadline) as http:
        error, text = failure_of(
            lambda: http.request(
                "POST", f"http://127.0.0.1:{port}/", headers={}, is_repeatable=False
            )
        )
    assert text == (
        f"cannot connect to http://127.0.0.1:{port}: connection refused; gave up after 5 tries"
    )
    assert len(deadline.waits) == 4
    assert not error.may_have_acted


def test_stuck_name_server_is_left_behind_and_nothing_is_sent_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_resolved, is_connected = threading.Event(), threading.Event()
    connect = connections.connect

    def connect_late(host: str, port: int, limits: Limits) -> socket.socket:
        is_resolved.wait(10)
        connection = connect(host, port, Limits(10, math.inf))
        is_connected.set()
        return connection

    monkeypatch.setattr(connections, "connect", connect_late)

    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/sessions"
    with listener, HttpClient(Deadline(0.2)) as http:
        error, text = failure_of(
            lambda: http.request("POST", url, headers={}, json={}, is_repeatable=False)
        )
        assert text.startswith("no answer from http://127.0.0.1:")
        assert not error.may_have_acted
        is_resolved.set()
        assert is_connected.wait(10)
        listener.settimeout(10)
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(10)
            assert accepted.recv(100) == b""


@pytest.mark.parametrize("is_repeatable", [True, False])
def test_cancelling_ends_a_question_but_not_the_opening_of_a_session(is_repeatable: bool) -> None:
    deadline = Deadline(20)
    is_given_up = threading.Event()

    def serve(connection: socket.socket) -> None:
        deadline.cancel()
        if is_repeatable:
            is_given_up.wait(20)
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with local_server(serve) as url, HttpClient(deadline) as http:
        if is_repeatable:
            _, text = failure_of(lambda: http.request("GET", url, headers={}, is_repeatable=True))
            is_given_up.set()
            assert text.startswith("no answer from")
        else:
            answer = http.request("POST", url, headers={}, is_repeatable=False)
            assert answer.json_object() == {}


def test_threads_share_one_client() -> None:
    service = FakeService({"GET /path": reply(200, {})})
    with service.http() as http:
        answers: list[Answer] = []

        def run() -> None:
            answers.append(
                http.request("GET", "https://api.test/path", headers={}, is_repeatable=True)
            )

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [answer.status for answer in answers] == [200] * 8
