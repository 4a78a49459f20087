# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests within a deadline: what is sent, repeated, refused and said."""

import inspect
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import httpcore
import httpx
import pytest

from spank_qrmi.clients.answer import Answer, error_text
from spank_qrmi.clients.http import BODY_LIMIT_BYTES, USER_AGENT, HttpClient
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ServiceError

from tests.unit.fake_services import (
    API_KEY,
    BEARER_TOKEN,
    SERVICE_CRN,
    FakeService,
    RecordingDeadline,
    assert_logs_show_no_secret,
    reply,
    text_of,
)

URL = "https://user:pass@api.test/path"
HEADERS = {"Authorization": f"Bearer {BEARER_TOKEN}", "Service-CRN": SERVICE_CRN}
GET = "GET /path"
POST = "POST /path"


@pytest.fixture(autouse=True)
def _no_secret_in_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield
    assert_logs_show_no_secret(caplog.get_records("call"))


def ask(
    service: FakeService,
    deadline: Deadline | None = None,
    *,
    method: str = "GET",
    is_repeatable: bool = True,
    url: str = "https://api.test/path",
) -> Answer:
    with service.http(deadline) as http:
        return http.request(
            method, url, headers=HEADERS, query={"secret": API_KEY}, is_repeatable=is_repeatable
        )


def failure_of(call: Callable[[], object]) -> tuple[ServiceError, str]:
    with pytest.raises(ServiceError) as caught:
        call()
    return caught.value, text_of(caught.value)


# What is sent and returned


def test_request_carries_our_headers_and_body_and_returns_the_answer() -> None:
    service = FakeService({POST: reply(201, {"id": 1}, X_Some="1", Set_Cookie="a=b")})
    with service.http() as http:
        for _ in range(2):
            answer = http.request(
                "POST",
                "https://api.test/path",
                headers=HEADERS,
                json={"a": [1]},
                is_repeatable=False,
            )
    sent = service.requests[1]
    assert sent.headers["user-agent"] == USER_AGENT
    assert sent.headers["accept"] == "application/json"
    assert sent.headers["accept-encoding"] == "identity"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["authorization"] == f"Bearer {BEARER_TOKEN}"
    assert "cookie" not in sent.headers
    assert sent.content == b'{"a":[1]}'
    assert (answer.status, answer.is_success, answer.json_object()) == (201, True, {"id": 1})
    assert answer.headers["x-some"] == "1"
    assert answer.source == "https://api.test:443/path"
    assert "id" not in repr(answer)


def test_form_is_urlencoded_in_order_and_query_is_encoded() -> None:
    service = FakeService({POST: reply()})
    with service.http() as http:
        http.request(
            "POST",
            "https://api.test/path",
            headers={},
            query={"q": "a b&c"},
            form={"z": "x:y", "a": "1 2"},
            is_repeatable=True,
        )
    assert service.requests[0].content == b"z=x%3Ay&a=1+2"
    assert service.requests[0].headers["content-type"] == "application/x-www-form-urlencoded"
    assert service.requests[0].url.params["q"] == "a b&c"


def test_user_agent_names_the_version_of_the_package() -> None:
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    version = re.search(r'^version = "(.+)"$', pyproject.read_text(), re.MULTILINE)
    assert version is not None
    assert f"spank-qrmi/{version[1]}" == USER_AGENT


def test_every_operation_has_a_timeout_of_30_s_or_what_is_left() -> None:
    service = FakeService({GET: reply()})
    ask(service)
    ask(service, RecordingDeadline(10))
    first, second = (request.extensions["timeout"] for request in service.requests)
    assert first == dict.fromkeys(("connect", "read", "write", "pool"), 30.0)
    assert all(9 < seconds <= 10 for seconds in second.values())


def test_share_limits_a_request_to_its_part_of_the_time() -> None:
    service = FakeService({GET: reply(503)})
    deadline = RecordingDeadline(3)
    with service.http(deadline) as http, pytest.raises(ServiceError, match="no time is left"):
        http.request("GET", "https://api.test/path", headers={}, is_repeatable=True, share=0.1)
    assert len(service.requests) == 1
    assert not deadline.has_passed()


def test_a_client_that_was_never_used_opens_nothing() -> None:
    with FakeService({}).http() as http:
        assert http._client is None


def test_one_debug_record_per_request_without_query(caplog: pytest.LogCaptureFixture) -> None:
    ask(FakeService({GET: [reply(503), reply()]}))
    records = [record for record in caplog.records if record.name == "spank_qrmi.clients"]
    assert [re.sub(r"\d+ ms", "N ms", record.getMessage()) for record in records] == [
        "GET api.test:443/path: 503, N ms",
        "GET api.test:443/path: 200, N ms",
    ]
    assert {record.name for record in caplog.records} == {"spank_qrmi.clients"}


# Repeating


@pytest.mark.parametrize("status", [408, 423, 429, 500, 502, 503, 504])
def test_repeatable_request_is_made_five_times(status: int) -> None:
    service = FakeService({GET: reply(status, {"message": "later"})})
    deadline = RecordingDeadline()
    error, text = failure_of(lambda: ask(service, deadline))
    assert len(service.requests) == 5
    for wait, base in zip(deadline.waits, (1, 2, 4, 8), strict=True):
        assert base * 0.75 <= wait <= base * 1.25
    assert error.status == status
    assert not error.may_have_acted
    assert text.startswith(f"https://api.test:443/path answered {status} ")
    assert text.endswith(": later; gave up after 5 tries")


@pytest.mark.parametrize(
    ("first", "is_repeated", "may_have_acted"),
    [
        (reply(429), True, False),
        (reply(423), True, False),
        (reply(503, None, Retry_After="0"), True, False),
        (reply(503), False, True),
        (reply(500), False, True),
        (reply(504), False, True),
        (reply(408), False, False),
        (reply(303, None, Location="https://api.test/made"), False, True),
        (reply(307, None, Location="https://api.test/there"), False, False),
        (httpx.ConnectError("refused"), True, False),
        (httpx.ConnectTimeout("slow"), True, False),
        (httpx.ReadTimeout("slow"), False, True),
        (httpx.ReadError("reset"), False, True),
        (httpx.WriteError("reset"), False, True),
        (httpx.RemoteProtocolError("cut"), False, True),
        (reply(200), False, None),
        (reply(409), False, None),
    ],
)
def test_what_opens_a_session_is_repeated_only_if_nothing_happened(
    first: httpx.Response | Exception, is_repeated: bool, may_have_acted: bool | None
) -> None:
    service = FakeService({POST: [first, reply(201, {})]})
    if is_repeated or may_have_acted is None:
        ask(service, method="POST", is_repeatable=False)
    else:
        error, _ = failure_of(lambda: ask(service, method="POST", is_repeatable=False))
        assert error.may_have_acted is may_have_acted
    assert len(service.requests) == (2 if is_repeated else 1)


def test_success_after_failures_is_returned() -> None:
    service = FakeService({GET: [httpx.ReadTimeout("slow"), reply(500), reply(200, {"a": 1})]})
    assert ask(service).json_object() == {"a": 1}


@pytest.mark.parametrize(
    ("header", "expected_wait"),
    [
        ("7", 7.0),
        ("0", None),
        ("  9 ", 9.0),
        ("-3", None),
        ("1e9", None),
        ("²", None),
        ("soon", None),
        ("Wed, 99 Foo 99999 99:99:99", None),
        ("Wed, 01 Jan 999999999 00:00:00 GMT", None),
        (formatdate(0, usegmt=True), None),
    ],
)
def test_retry_after_is_honoured(header: str, expected_wait: float | None) -> None:
    replies = [httpx.Response(429, headers=[(b"Retry-After", header.encode())]), reply()]
    deadline = RecordingDeadline()
    ask(FakeService({GET: list(replies)}), deadline)
    if expected_wait is None:
        assert 0.75 <= deadline.waits[0] <= 1.25
    else:
        assert deadline.waits == [expected_wait]


def test_retry_after_may_be_a_date() -> None:
    header = formatdate(time.time() + 60, usegmt=True)
    deadline = RecordingDeadline()
    ask(FakeService({GET: [reply(503, None, Retry_After=header), reply()]}), deadline)
    assert 55 < deadline.waits[0] <= 60


def test_retry_after_beyond_the_deadline_ends_the_tries() -> None:
    service = FakeService({GET: reply(429, {}, Retry_After="99999999999999999999")})
    error, text = failure_of(lambda: ask(service))
    assert len(service.requests) == 1
    assert error.status == 429
    assert "asks to wait 999999999 s, which is longer than we may" in text


def test_no_try_begins_that_does_not_fit_the_deadline() -> None:
    service = FakeService({GET: reply(500)})
    _, text = failure_of(lambda: ask(service, RecordingDeadline(2)))
    assert len(service.requests) in {2, 3, 4, 5}
    assert text.endswith("no time is left") or "gave up" in text
    service = FakeService({GET: reply(500)})
    _, text = failure_of(lambda: ask(service, RecordingDeadline(0.5)))
    assert len(service.requests) == 1
    assert text.endswith("gave up after 1 try, no time is left")


def test_nothing_is_sent_after_the_deadline() -> None:
    service = FakeService({GET: reply()})
    _, text = failure_of(lambda: ask(service, RecordingDeadline(0)))
    assert not service.requests
    assert text == "no time is left to ask https://api.test:443/path"


# Refusals


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://u:p@evil.test:99/x?y=1", "to evil.test:"),
        ("/other", "to the same host:"),
        ("https://[bad", None),
        ("", "to the same host:"),
    ],
)
def test_redirects_are_never_followed(location: str, shown: str | None) -> None:
    headers = {"Location": location} if location else {}
    service = FakeService({GET: httpx.Response(302, headers=headers)})
    error, text = failure_of(lambda: ask(service))
    assert {request.url.host for request in service.requests} == {"api.test"}
    assert not error.may_have_acted
    if shown:
        assert shown in text
        assert "y=1" not in text
        assert "u:p" not in text


def test_unreadable_redirect_of_a_transport_that_lets_it_pass() -> None:
    answer = Answer(302, "https://h:443/", {"location": "https://[bad"}, b"")
    from spank_qrmi.clients.retry import status_failure  # noqa: PLC0415 (one test only)

    assert "an unreadable address" in str(status_failure(answer, is_repeatable=True))


def test_too_large_answer_is_refused() -> None:
    exact = FakeService({GET: httpx.Response(200, content=b"x" * BODY_LIMIT_BYTES)})
    assert len(ask(exact).body) == BODY_LIMIT_BYTES
    larger = FakeService({GET: httpx.Response(200, content=b"x" * (BODY_LIMIT_BYTES + 1))})
    _, text = failure_of(lambda: ask(larger))
    assert text == "the answer of https://api.test:443/path is larger than 1 MiB"
    assert len(larger.requests) == 1


@pytest.mark.parametrize(
    "url",
    ["", "api.test/path", "ftp://api.test/", "http:///path", "http://h:x/", "http://h\n/"],
)
def test_unusable_urls_are_readable(url: str) -> None:
    service = FakeService({})
    error, text = failure_of(lambda: ask(service, url=url))
    assert text == "an endpoint's URL cannot be used: correct the resource's endpoints"
    assert not error.may_have_acted


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "ü", "\udcff"])
def test_header_values_that_cannot_be_sent_are_refused(value: str) -> None:
    with FakeService({}).http() as http, pytest.raises(ServiceError) as caught:
        http.request("GET", "http://h/", headers={"Service-CRN": value}, is_repeatable=True)
    assert text_of(caught.value).startswith("the value of the header Service-CRN has characters")


def test_errors_never_name_user_name_or_query() -> None:
    _, text = failure_of(lambda: ask(FakeService({GET: reply(500)}), url=URL))
    assert "user" not in text
    assert "pass" not in text


def test_ipv6_hosts_and_long_hostile_paths_are_shown_safely() -> None:
    service = FakeService({})
    service.handle_request = lambda request: httpx.Response(500)  # type: ignore[method-assign]
    url = "http://[::1]:8080/a\u202e%0a" + "b" * 500
    _, text = failure_of(lambda: ask(service, url=url))
    assert text.startswith("http://[::1]:8080/a%E2%80%AE%0a")
    assert len(text) < 400


# Mapping of the libraries' exceptions


def exception_classes(module: object) -> list[type[Exception]]:
    return [
        each
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, Exception)
    ]


NOT_SENT = {
    httpx.ConnectError: "cannot connect to https://api.test:443",
    httpx.ConnectTimeout: "cannot connect to https://api.test:443 within 30 s",
    httpx.PoolTimeout: "cannot connect to https://api.test:443 within 30 s",
    httpx.ProxyError: "the proxy does not connect us to https://api.test:443",
}
NO_ANSWER = "no answer from https://api.test:443/path within 30 s"
BROKEN = "the connection broke before the answer of https://api.test:443/path was complete"
NOT_ANSWERED = {
    httpx.TimeoutException: NO_ANSWER,
    httpx.ReadTimeout: NO_ANSWER,
    httpx.WriteTimeout: NO_ANSWER,
    httpx.NetworkError: BROKEN,
    httpx.ReadError: BROKEN,
    httpx.WriteError: BROKEN,
    httpx.CloseError: BROKEN,
    httpx.RemoteProtocolError: BROKEN,
}
NOT_MADE = {httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError}
UNEXPECTED = {
    httpx.CookieConflict,
    httpx.DecodingError,
    httpx.HTTPError,
    httpx.HTTPStatusError,
    httpx.ProtocolError,
    httpx.RequestError,
    httpx.RequestNotRead,
    httpx.ResponseNotRead,
    httpx.StreamClosed,
    httpx.StreamConsumed,
    httpx.StreamError,
    httpx.TooManyRedirects,
    httpx.TransportError,
    *exception_classes(httpcore),
}


def raiser(error_class: type[Exception]) -> Callable[[httpx.Request], httpx.Response]:
    def raise_it(request: httpx.Request) -> httpx.Response:
        text = f"{error_class.__name__} of {request.method}"
        if error_class is httpx.HTTPStatusError:
            raise httpx.HTTPStatusError(text, request=request, response=httpx.Response(500))
        if error_class in {httpx.RequestNotRead, httpx.ResponseNotRead}:
            raise error_class
        if error_class in {httpx.StreamClosed, httpx.StreamConsumed}:
            raise error_class
        raise error_class(text)

    return raise_it


@pytest.mark.parametrize("is_repeatable", [True, False])
@pytest.mark.parametrize(
    "error_class", [*exception_classes(httpx), *exception_classes(httpcore)], ids=str
)
def test_every_exception_of_the_libraries_becomes_a_service_error(
    error_class: type[Exception], is_repeatable: bool
) -> None:
    service = FakeService({GET: raiser(error_class)})
    error, text = failure_of(lambda: ask(service, is_repeatable=is_repeatable))
    if error_class in NOT_SENT:
        expected = (NOT_SENT[error_class], 5, False)
    elif error_class in NOT_ANSWERED:
        tries = 5 if is_repeatable else 1
        expected = (NOT_ANSWERED[error_class], tries, not is_repeatable)
    elif error_class in NOT_MADE:
        expected = ("the request to https://api.test:443/path failed", 1, False)
    else:
        assert error_class in UNEXPECTED, "a new exception: decide whether it is repeated"
        expected = ("the request to https://api.test:443/path failed", 1, not is_repeatable)
    assert text.startswith(expected[0])
    assert len(service.requests) == expected[1]
    assert error.may_have_acted is expected[2]
    assert error.__cause__ is not None


@pytest.mark.parametrize("is_repeatable", [True, False])
def test_a_thread_that_ends_without_answer_leaves_nobody_waiting(is_repeatable: bool) -> None:
    def exit_thread(request: httpx.Request) -> httpx.Response:
        raise SystemExit

    error, text = failure_of(
        lambda: ask(FakeService({GET: exit_thread}), is_repeatable=is_repeatable)
    )
    assert text == "the request to https://api.test:443/path ended without an answer"
    assert error.may_have_acted is not is_repeatable


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def untrusted_certificate() -> ssl.SSLCertVerificationError:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    return cause


@pytest.mark.parametrize(
    ("cause", "expected", "tries"),
    [
        (ConnectionRefusedError(111, "Connection refused"), ": connection refused; gave up", 5),
        (socket.gaierror(-2, "Name or service not known"), ": name or service not known; ", 5),
        (ssl.SSLError(1, "odd"), ": TLS: failed; ", 5),
        (OSError(), "; gave up", 5),
        (untrusted_certificate(), ": its certificate is not trusted (self-signed certificate)", 1),
    ],
    ids=str,
)
def test_failed_connections_say_why(cause: Exception, expected: str, tries: int) -> None:
    service = FakeService({GET: raised_from(httpx.ConnectError("x"), cause)})
    _, text = failure_of(lambda: ask(service))
    assert text.startswith(f"cannot connect to https://api.test:443{expected}")
    assert len(service.requests) == tries


@pytest.mark.parametrize(
    ("name", "value"), [("http_proxy", "odd://user:pw@proxy"), ("SSL_CERT_FILE", "/missing.pem")]
)
def test_unusable_site_settings_are_readable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with HttpClient(RecordingDeadline()) as http, pytest.raises(ServiceError) as caught:
        http.request("POST", "http://127.0.0.1:9/", headers={}, is_repeatable=False)
    assert text_of(caught.value).startswith(
        "cannot prepare the request to http://127.0.0.1:9: check http_proxy"
    )
    assert not caught.value.may_have_acted


# Real sockets


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
        started_at = time.monotonic()
        error, _ = failure_of(
            lambda: http.request("GET", url, headers={}, is_repeatable=is_repeatable)
        )
        assert time.monotonic() - started_at < 2
        assert error.may_have_acted is not is_repeatable


def test_body_is_checked_against_the_time_between_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = iter([b"a", b"b", b"c"])
    response = httpx.Response(200, stream=_Chunks(chunks))
    from spank_qrmi.clients import http as module  # noqa: PLC0415 (one test only)

    request = type("Request", (), {"source": "http://h:80/", "is_repeatable": False})()
    with pytest.raises(ServiceError, match="did not end in time") as caught:
        module._read_body(response, request, time.monotonic())
    assert caught.value.may_have_acted
    assert next(chunks) == b"b"


class _Chunks(httpx.SyncByteStream):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks


def test_truncated_answer_of_what_opens_a_session_may_have_acted() -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(b'HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{"id":')
        connection.shutdown(socket.SHUT_RDWR)

    with local_server(serve) as url, HttpClient(RecordingDeadline()) as http:
        error, text = failure_of(
            lambda: http.request("POST", url, headers={}, json={}, is_repeatable=False)
        )
    assert error.may_have_acted
    assert text.startswith("the connection broke before the answer of http://127.0.0.1:")


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
    received: list[bytes] = []
    is_resolved, is_connected = threading.Event(), threading.Event()
    connect = socket.create_connection

    def connect_late(*arguments: object, **options: object) -> socket.socket:
        is_resolved.wait(10)
        connection = connect(*arguments, **options)  # type: ignore[arg-type]
        is_connected.set()
        return connection

    monkeypatch.setattr(socket, "create_connection", connect_late)

    def serve_nothing(connection: socket.socket) -> None:
        received.append(b"something")

    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/sessions"
    with listener, HttpClient(Deadline(0.2)) as http:
        error, text = failure_of(
            lambda: http.request("POST", url, headers={}, json={}, is_repeatable=False)
        )
        assert text.startswith("no answer from http://127.0.0.1:")
        assert error.may_have_acted
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

    def serve(connection: socket.socket) -> None:
        deadline.cancel()
        time.sleep(0.3)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with local_server(serve) as url, HttpClient(deadline) as http:
        if is_repeatable:
            _, text = failure_of(
                lambda: http.request("GET", url, headers={}, is_repeatable=True)
            )
            assert text.startswith("no answer from")
        else:
            answer = http.request("POST", url, headers={}, is_repeatable=False)
            assert answer.json_object() == {}


def test_threads_share_one_client() -> None:
    service = FakeService({GET: reply(200, {})})
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


# Texts from answers


def answer_of(body: bytes, status: int = 400, secrets: tuple[str, ...] = ()) -> Answer:
    return Answer(status, "https://h:443/p", {}, body, secrets)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"errors":[{"code":"1216","message":"no such backend"}]}', "no such backend (1216)"),
        (b'{"errors":[{"code":1234,"message":"plan"}]}', "plan (1234)"),
        (b'{"errors":[{"message":"only text"}]}', "only text"),
        (b'{"errorCode":"BXNIM0415E","errorMessage":"bad key"}', "bad key (BXNIM0415E)"),
        (b'{"status":"fail","message":"not here"}', "not here"),
        (b'{"detail":"unknown backend"}', "unknown backend"),
        (b'{"errors":[],"message":"fallback"}', "fallback"),
        (b'{"errors":["text"],"detail":"fallback"}', "fallback"),
        (b'{"errors":{"a":1}}', ""),
        (b'{"message":"a\\nb\\u001b[31mc\\u202ed\\u2028e"}', "a?b?[31mc?d?e"),
        (b'{"message":"  "}', ""),
        (b'{"message":["a"],"detail":{"b":1}}', ""),
        (b"[" * 100000, ""),
        (b'{"message":' + b"[" * 5000, ""),
        (b'"text"', ""),
        (b"<html>", ""),
        (b"\xff\xfe", ""),
        (b"", ""),
    ],
    ids=lambda value: str(value)[:30],
)
def test_error_text_knows_the_shapes_and_survives_anything(body: bytes, expected: str) -> None:
    assert error_text(answer_of(body)) == expected


def test_error_text_is_limited() -> None:
    body = b'{"errors":[{"code":"%s","message":"%s"}]}' % (b"c" * 300, b"m" * 300)
    assert error_text(answer_of(body)) == "m" * 200


def test_error_text_masks_what_we_sent() -> None:
    body = f'{{"message":"instance {SERVICE_CRN} of {API_KEY} ok"}}'.encode()
    answer = answer_of(body, secrets=(SERVICE_CRN, API_KEY, "ok"))
    assert error_text(answer) == "instance **** of **** ok"


def test_secrets_that_a_service_repeats_are_masked() -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        message = f"{request.headers['authorization']} {request.headers['service-crn']}"
        return reply(500, {"message": message})

    _, text = failure_of(lambda: ask(FakeService({GET: echo})))
    assert ": Bearer **** ****; gave up" in text


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b"", "404 Not Found"),
        (404, b'{"message":"x"}', "404 Not Found: x"),
        (499, b"", "499"),
    ],
)
def test_status_text(status: int, body: bytes, expected: str) -> None:
    assert answer_of(body, status).status_text() == expected


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b'{"a":NaN}'])
def test_json_object_refuses_everything_else(body: bytes) -> None:
    with pytest.raises(ServiceError, match=r"^the answer of https://h:443/p is not ") as caught:
        answer_of(body, 200).json_object()
    assert caught.value.status == 200
    text_of(caught.value)
