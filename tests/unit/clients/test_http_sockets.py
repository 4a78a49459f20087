# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes over real sockets, and services that are slow, broken, silent or say too much."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.response import Response
from spank_qrmi.deadline import Deadline
from tests.unit.fake_services import API_KEY, RecordingDeadline, failure_of
from tests.unit.outcomes import trying
from tests.unit.scripted_server import (
    HANG_UP,
    OK,
    asked_server,
    drip,
    lines_of,
    listening,
    received_request,
    scripted_server,
)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def get(http: HttpClient, url: str, *, is_repeatable: bool = True) -> Response:
    return http.request("GET", url, headers={}, is_repeatable=is_repeatable, max_tries=1)


def post(http: HttpClient, url: str, **more: Any) -> Response:
    """Ask for what must be done once at most, such as opening a session."""
    return http.request("POST", url, headers={}, is_repeatable=False, **more)


def test_late_answer_of_what_opens_a_session_is_still_read() -> None:
    deadline = RecordingDeadline(0.2)

    def serve(connection: socket.socket) -> None:
        while deadline.remaining_seconds() > 0:
            time.sleep(0.01)
        connection.sendall(OK)

    with asked_server(serve) as url, HttpClient(deadline) as http:
        assert post(http, url).json_object() == {}
        _, text = failure_of(lambda: get(http, url))
        assert text.startswith("no time is left")


def test_answer_of_what_opens_a_session_is_told_as_far_as_it_came(http: HttpClient) -> None:
    for status, expected in ((b"200 OK", b'{"id": "s-1"'), (b"500 Oh", b"")):
        start = b"HTTP/1.1 " + status + b'\r\nContent-Length: 900000\r\n\r\n{"id": "s-1"'
        with trying(status), asked_server(drip(start)) as url, HttpClient(Deadline(0.2)) as hurried:
            error, _ = failure_of(partial(post, hurried, url))
            assert error.may_have_acted
            assert error.partial_body.rstrip(b"x") == expected
    cut_off = b'HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{"id":' + HANG_UP
    with scripted_server(cut_off) as server:
        error, text = failure_of(partial(post, http, server.url))
    assert (error.may_have_acted, error.partial_body) == (True, b'{"id":')
    assert text.startswith("the connection broke before the answer of http://127.0.0.1:")


def test_stuck_name_server_is_left_behind_and_nothing_is_sent_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_resolved = threading.Event()
    look_up = socket.getaddrinfo

    def look_up_late(*arguments: Any, **named: Any) -> Any:
        is_resolved.wait(10)
        return look_up(*arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_late)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/sessions"
    with listener, HttpClient(Deadline(0.2)) as http:
        error, text = failure_of(lambda: post(http, url, json={}))
        assert text.startswith("no answer from http://127.0.0.1:")
        assert not error.may_have_acted
        is_resolved.set()
        listener.settimeout(10)
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(10)
            assert accepted.recv(100) == b""


@pytest.mark.parametrize("is_repeatable", [True, False])
def test_service_whose_answer_has_no_end_is_not_listened_to_any_longer(is_repeatable: bool) -> None:
    """httpx reads on for as long as such answers come, which only announce another."""
    announcement = b"HTTP/1.1 103 Early\r\nX: " + b"x" * 50_000 + b"\r\n\r\n"

    def serve(connection: socket.socket) -> None:
        while True:
            connection.sendall(announcement)

    with asked_server(serve) as url, HttpClient(Deadline(0.2)) as http:
        error, text = failure_of(lambda: get(http, url, is_repeatable=is_repeatable))
        for thread in threading.enumerate():
            if "(_carry_out)" in thread.name:
                thread.join(10)
                assert not thread.is_alive()
    assert text.startswith("no answer from")
    assert error.may_have_acted is not is_repeatable


@pytest.mark.parametrize("is_repeatable", [True, False])
def test_cancelling_ends_a_question_but_not_the_opening_of_a_session(is_repeatable: bool) -> None:
    deadline = Deadline(20)
    is_given_up = threading.Event()

    def serve(connection: socket.socket) -> None:
        deadline.cancel()
        if is_repeatable:
            is_given_up.wait(20)
        connection.sendall(OK)

    with asked_server(serve) as url, HttpClient(deadline) as http:
        if is_repeatable:
            _, text = failure_of(lambda: get(http, url))
            is_given_up.set()
            assert text.startswith("no answer from")
        else:
            assert post(http, url).json_object() == {}


def test_threads_share_one_client(http: HttpClient) -> None:
    with scripted_server(OK) as server, ThreadPoolExecutor(8) as threads:
        answers = [*threads.map(lambda _: get(http, server.url), range(8))]
    assert [answer.status for answer in answers] == [200] * 8
    assert len(server.connections) == 8


def test_request_is_sent_as_http(http: HttpClient) -> None:
    with scripted_server(OK) as server:
        http.request(
            *("POST", f"{server.url}/a%20b/\u00fc"),
            headers={"X-Own": "value"},
            query={"q": "a b&c/\u00fc"},
            form={"z": "x:y z", "a": "1"},
            is_repeatable=False,
        )
        for method in ("GET", "DELETE", "POST", "PATCH"):
            http.request(method, server.url, headers={}, is_repeatable=True)
    request, *without_content = server.requests
    first, *headers = lines_of(request)
    assert first == "POST /a%20b/%C3%BC?q=a%20b%26c%2F%C3%BC HTTP/1.1"
    assert headers[0] == f"Host: 127.0.0.1:{server.port}"
    form = {"Content-Type: application/x-www-form-urlencoded", "Content-Length: 15"}
    assert {"Accept-Encoding: identity", "X-Own: value", *form} <= set(headers)
    assert request.endswith(b"\r\n\r\nz=x%3Ay%20z&a=1")
    # Methods that are expected to have content say that there is none.
    lengths = ["Content-Length: 0" in lines_of(each) for each in without_content]
    assert lengths == [False, False, True, True]
    assert lines_of(without_content[0])[0] == "GET / HTTP/1.1"


def test_answers_of_every_form_are_read(http: HttpClient) -> None:
    for answer, body in (
        (CHUNKED + b"1\r\n{\r\n1;x=y\r\n}\r\n0\r\nTrailer: x\r\n\r\n", b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, b"{}"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}" + HANG_UP, b"{}"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ):
        with trying(answer), scripted_server(answer) as server:
            assert get(http, server.url).body == body


def test_what_is_no_whole_answer_is_one_error_and_asked_once(http: HttpClient) -> None:
    for answer in (
        *(HANG_UP, b"HTTP/1.1 200 OK\r\nX: a" + HANG_UP, b"\0" * 100),
        *(b"HTTP/1.1 99999 OK\r\n\r\n", b"HTTP/1.1 101 Switching\r\nUpgrade: evil\r\n\r\n{}"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}" + HANG_UP,
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        *(CHUNKED + rest + HANG_UP for rest in (b"2\r\n{}", b"zz\r\n{}\r\n0\r\n\r\n")),
        *(start + b"x" * 400_000 for start in (b"HTTP/1.1 200 OK\r\nX: ", CHUNKED + b"0\r\nX: ")),
    ):
        with trying(answer[:80]), scripted_server(answer) as server:
            error, text = failure_of(lambda url=server.url: get(http, url, is_repeatable=False))
            assert text.startswith("the connection broke before the answer of")
            assert error.may_have_acted
            assert len(server.requests) == 1


def test_what_a_service_says_unasked_answers_no_other_request(http: HttpClient) -> None:
    unasked = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"
    for answer in (OK + unasked, CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + unasked):
        with trying(answer), scripted_server(answer) as server:
            assert [get(http, server.url).body for _ in range(3)] == [b"{}"] * 3
            assert len(server.connections) == len(server.requests)
            assert all("Connection: close" in lines_of(request) for request in server.requests)
            assert all(connection.recv(1) == b"" for connection in server.connections)


def test_answer_before_the_request_was_taken_is_read(http: HttpClient) -> None:
    """The service refuses a large body, and hangs up, before it has read it."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        connection.close()

    with listening(serve, []) as port:
        form = {"key": "x" * 8_000_000}
        assert post(http, f"http://127.0.0.1:{port}/", form=form).status == 413


def test_libraries_log_nothing(http: HttpClient, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with scripted_server(OK) as server:
        http.request("GET", server.url, headers=headers, is_repeatable=True)
    assert {record.name for record in caplog.records} == {"spank_qrmi.clients.http"}


def test_addresses_of_a_name_are_tried_in_turn(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server(OK) as server:
        addresses = [("127.0.0.1", 9), ("127.0.0.1", server.port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert get(http, "http://service.test/").status == 200


def test_places_where_nobody_is_are_readable(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    _, text = failure_of(lambda: get(http, "http://[::1]:9/"))
    assert text == "cannot connect to http://[::1]:9: connection refused"
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    error, text = failure_of(lambda: get(http, "http://service.test/", is_repeatable=False))
    assert text == "cannot connect to http://service.test:80: name or service not known"
    assert not error.may_have_acted


def test_ipv6(http: HttpClient) -> None:
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as listener,
        ThreadPoolExecutor() as threads,
    ):
        listener.settimeout(20)
        place = f"[::1]:{listener.getsockname()[1]}"
        answer = threads.submit(get, http, f"http://{place}/")
        connection, _ = listener.accept()
        with connection:
            assert lines_of(received_request(connection))[1] == f"Host: {place}"
            connection.sendall(OK)
        assert answer.result().source == f"http://{place}/"
