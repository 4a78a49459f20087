# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests over real sockets: what is sent, which connections are used again, and proxies."""

import base64
import math
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from loopback.tls_entrance import TlsEntrance
from spank_qrmi.clients import connection as connection_module
from spank_qrmi.clients import connections as connections_module
from spank_qrmi.clients.answer import Answer
from spank_qrmi.clients.connection import connect
from spank_qrmi.clients.connections import Connections
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.http1 import HEAD_LIMIT_BYTES
from spank_qrmi.clients.transport import ConnectError, ConnectTimeoutError, Limits
from spank_qrmi.deadline import Deadline
from tests.unit.fake_services import RecordingDeadline, failure_of
from tests.unit.scripted_server import (
    HANG_UP,
    listening,
    received_request,
    scripted_server,
    tunnelling_proxy,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
NO_LIMITS = Limits(20, math.inf)

pytestmark = pytest.mark.usefixtures("no_secret_in_logs", "no_settings_of_this_machine")


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with HttpClient(RecordingDeadline()) as http:
        yield http


def get(http: HttpClient, url: str, *, is_repeatable: bool = True) -> Answer:
    return http.request("GET", url, headers={}, is_repeatable=is_repeatable, max_tries=1)


def wait_until_hung_up(http: HttpClient) -> None:
    """Wait until what the service did to the connections that are kept has arrived."""
    transport = http._transport
    assert isinstance(transport, Connections)
    give_up_at = time.monotonic() + 20
    while any(each.is_quiet() for kept in transport._idle.values() for _, each in kept):
        assert time.monotonic() < give_up_at
        time.sleep(0.001)


def lines_of(request: bytes) -> list[str]:
    return request.partition(b"\r\n\r\n")[0].decode().split("\r\n")


def test_request_is_sent_as_http(http: HttpClient) -> None:
    with scripted_server(OK) as server:
        http.request(
            "POST",
            f"{server.url}/a b".replace(" ", "%20"),
            headers={"X-Own": "value"},
            query={"q": "a b&c"},
            form={"key": "x:y"},
            is_repeatable=False,
        )
    [request] = server.requests
    first, *headers = lines_of(request)
    assert first == "POST /a%20b?q=a%20b%26c HTTP/1.1"
    assert headers[0] == f"Host: 127.0.0.1:{server.port}"
    assert {"Accept-Encoding: identity", "X-Own: value", "Content-Length: 9"} <= set(headers)
    assert request.endswith(b"\r\n\r\nkey=x%3Ay")


def test_request_without_content_says_so_where_one_is_expected(http: HttpClient) -> None:
    with scripted_server(OK) as server:
        for method in ("GET", "POST", "DELETE", "PATCH"):
            http.request(method, server.url, headers={}, is_repeatable=True)
    lengths = ["Content-Length: 0" in lines_of(request) for request in server.requests]
    assert lengths == [False, True, False, True]
    assert lines_of(server.requests[0])[0] == "GET / HTTP/1.1"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (CHUNKED + b"1\r\n{\r\n1;x=y\r\n}\r\n0\r\nTrailer: x\r\n\r\n", b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, b"{}"),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (OK, b"{}"),
    ],
)
def test_answers_of_every_form_are_read_and_the_connection_is_kept(
    http: HttpClient, answer: bytes, body: bytes
) -> None:
    with scripted_server(answer) as server:
        bodies = [get(http, server.url).body for _ in range(3)]
    assert bodies == [body] * 3
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}}",
    ],
    ids=["close", "HTTP/1.0", "answer to nothing", "too long"],
)
def test_connection_that_may_not_be_kept_is_closed(http: HttpClient, answer: bytes) -> None:
    with scripted_server(answer) as server:
        bodies = [get(http, server.url).body for _ in range(2)]
    assert bodies == [b"{}"] * 2
    assert len(server.connections) == 2


def test_end_of_the_connection_ends_an_answer_without_length(http: HttpClient) -> None:
    with scripted_server(b"HTTP/1.1 200 OK\r\n\r\n{}" + HANG_UP) as server:
        assert get(http, server.url).body == b"{}"


@pytest.mark.parametrize("is_repeatable", [True, False])
def test_service_that_hung_up_meanwhile_is_asked_by_a_new_connection(
    http: HttpClient, is_repeatable: bool
) -> None:
    with scripted_server(OK + HANG_UP) as server:
        for _ in range(2):
            assert get(http, server.url, is_repeatable=is_repeatable).status == 200
            wait_until_hung_up(http)
    assert len(server.connections) == 2


@pytest.mark.parametrize("is_repeatable", [True, False])
def test_service_that_hangs_up_at_the_next_request_is_asked_again_if_that_does_no_harm(
    http: HttpClient, is_repeatable: bool
) -> None:
    with scripted_server(OK, HANG_UP, OK) as server:
        get(http, server.url)
        if is_repeatable:
            assert get(http, server.url).status == 200
        else:
            error, text = failure_of(lambda: get(http, server.url, is_repeatable=False))
            assert error.may_have_acted
            assert text.startswith("the connection broke before the answer of")
    assert len(server.requests) == (3 if is_repeatable else 2)


@pytest.mark.parametrize("answer", [HANG_UP, b"HTTP/1.1 200" + HANG_UP])
def test_new_connection_that_ends_is_no_reason_to_ask_at_once_again(
    http: HttpClient, answer: bytes
) -> None:
    with scripted_server(answer) as server:
        failure_of(lambda: get(http, server.url))
    assert len(server.requests) == 1


def test_connection_on_which_something_came_unasked_is_not_used_again(http: HttpClient) -> None:
    with scripted_server(OK) as server:
        get(http, server.url)
        server.connections[0].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
        wait_until_hung_up(http)
        assert get(http, server.url).body == b"{}"
    assert len(server.connections) == 2


def test_connection_that_was_idle_for_long_is_not_used_again(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "IDLE_SECONDS", 0.0)
    with scripted_server(OK) as server:
        for _ in range(2):
            get(http, server.url)
    assert len(server.connections) == 2


def test_connection_of_an_answer_that_was_refused_is_not_used_again(http: HttpClient) -> None:
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 2_000_000
    with scripted_server(large, OK) as server:
        _, text = failure_of(lambda: get(http, server.url))
        assert text.endswith("/ is larger than 1 MiB")
        assert get(http, server.url).body == b"{}"
    assert len(server.connections) == 2


def test_connections_are_shared_by_work_with_other_deadlines_and_closed_with_the_client() -> None:
    with scripted_server(OK) as server:
        with HttpClient(Deadline(20)) as http:
            http.open_with({})
            get(http, server.url)
            get(http.within(Deadline(20)), server.url)
            assert len(server.connections) == 1
        assert server.connections[0].recv(1) == b""


def test_threads_at_the_same_time_have_connections_of_their_own(http: HttpClient) -> None:
    with scripted_server(OK) as server:
        threads = [threading.Thread(target=get, args=(http, server.url)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        get(http, server.url)
    assert len(server.requests) == 9
    assert len(server.connections) <= 8


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 ", b"A"])
def test_head_has_a_limit(http: HttpClient, start: bytes) -> None:
    with scripted_server(start + b"x" * 4 * HEAD_LIMIT_BYTES) as server:
        _, text = failure_of(lambda: get(http, server.url))
    assert text.startswith("the connection broke before the answer of")


def test_answer_before_the_request_was_taken_is_read(http: HttpClient) -> None:
    """The service refuses a large body, and hangs up, before it has read it."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        connection.close()

    with listening(serve, []) as port:
        form = {"key": "x" * 8_000_000}
        answer = http.request(
            "POST", f"http://127.0.0.1:{port}/", headers={}, form=form, is_repeatable=False
        )
    assert answer.status == 413


# ---- Names and addresses ----


def fake_addresses(
    monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]
) -> list[tuple[str, int]]:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(connection_module.socket, "getaddrinfo", lambda *_, **__: found)
    return list(addresses)


def test_addresses_of_a_name_are_tried_in_turn(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server(OK) as server:
        fake_addresses(monkeypatch, ("127.0.0.1", 9), ("127.0.0.1", server.port))
        assert get(http, "http://service.test/").status == 200


def test_time_to_connect_is_shared_by_the_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []

    class Silent(socket.socket):
        def connect(self, _address: object) -> None:
            tried.append(self.gettimeout() or 0)
            raise TimeoutError

    fake_addresses(monkeypatch, *[("127.0.0.1", 9)] * 4)
    monkeypatch.setattr(connection_module.socket, "socket", Silent)
    with pytest.raises(ConnectTimeoutError):
        connect("service.test", 80, NO_LIMITS)
    assert [round(seconds) for seconds in tried] == [5, 7, 10, 20]


def test_names_that_nobody_has_are_readable(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(connection_module.socket, "getaddrinfo", fail)
    error, text = failure_of(lambda: get(http, "http://service.test/"))
    assert text == "cannot connect to http://service.test:80: name or service not known"
    assert not error.may_have_acted


def test_nothing_is_tried_when_the_time_is_over() -> None:
    with pytest.raises(ConnectTimeoutError):
        connect("127.0.0.1", 9, Limits(20, 0))


def test_refused_connection_has_a_reason() -> None:
    with pytest.raises(ConnectError, match=r"^connection refused$"):
        connect("127.0.0.1", 9, NO_LIMITS)


def test_ipv6(http: HttpClient) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(received_request(connection))
                connection.sendall(OK)

        asked: list[bytes] = []
        thread = threading.Thread(target=answer)
        thread.start()
        assert get(http, f"http://[::1]:{port}/").source == f"http://[::1]:{port}/"
        thread.join()
    assert lines_of(asked[0])[1] == f"Host: [::1]:{port}"


# ---- Proxies ----

LOGIN = "user:p%40ss"
PROOF = "Proxy-Authorization: Basic " + base64.b64encode(b"user:p@ss").decode()


def test_http_goes_through_the_proxy_with_the_whole_address(http: HttpClient) -> None:
    with scripted_server(OK) as proxy:
        http.open_with({"http_proxy": f"http://{LOGIN}@127.0.0.1:{proxy.port}"})
        for _ in range(2):
            get(http, "http://service.test:8080/path?a=b")
    first, *headers = lines_of(proxy.requests[0])
    assert first == "GET http://service.test:8080/path?a=b HTTP/1.1"
    assert headers[0] == "Host: service.test:8080"
    assert PROOF in headers
    assert len(proxy.connections) == 1


def test_https_goes_through_a_tunnel_that_alone_sees_the_login(
    http: HttpClient, entrance: TlsEntrance
) -> None:
    with tunnelling_proxy() as (port, asked):
        http.open_with(
            {
                "https_proxy": f"http://{LOGIN}@127.0.0.1:{port}",
                "SSL_CERT_FILE": str(entrance.certificate),
            }
        )
        for _ in range(2):
            assert get(http, f"{entrance.url}/_simulator/state").status == 200
    [tunnel] = asked
    place = entrance.url.removeprefix("https://")
    assert lines_of(tunnel) == [f"CONNECT {place} HTTP/1.1", f"Host: {place}", PROOF]


def test_login_of_the_proxy_is_not_sent_through_the_tunnel(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tunnelling_proxy() as (port, _), scripted_server(OK) as service:
        http.open_with({"https_proxy": f"http://{LOGIN}@127.0.0.1:{port}"})
        monkeypatch.setattr("spank_qrmi.clients.tls.Trust.handshake", lambda _, stream, __: stream)
        get(http, service.url.replace("http:", "https:"))
    assert "Proxy-Authorization" not in service.requests[0].decode()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 407 Denied\r\nContent-Length: 0\r\n\r\n", " (it answered 407)"),
        (b"HTTP/1.1 502 Bad\r\n\r\n" + HANG_UP, " (it answered 502)"),
        (b"HTTP/1.1 200 OK\r\n\r\nearly", " (it answered 200)"),
        (b"SSH-2.0\r\n\r\n", ""),
        (HANG_UP, ""),
    ],
)
def test_proxy_that_opens_no_tunnel(http: HttpClient, answer: bytes, expected: str) -> None:
    with scripted_server(answer) as proxy:
        http.open_with({"https_proxy": f"http://{LOGIN}@127.0.0.1:{proxy.port}"})
        error, text = failure_of(lambda: get(http, "https://service.test/", is_repeatable=False))
    assert text == (
        f"the proxy does not connect us to https://service.test:443{expected}: "
        "check the proxy settings"
    )
    assert not error.may_have_acted


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_is_not_there(http: HttpClient, scheme: str) -> None:
    http.open_with({f"{scheme}_proxy": "http://user:secret@127.0.0.1:9"})
    error, text = failure_of(lambda: get(http, f"{scheme}://service.test:1/", is_repeatable=False))
    assert text == (
        f"cannot connect to {scheme}://service.test:1: proxy 127.0.0.1:9: connection refused"
    )
    assert not error.may_have_acted


def test_proxy_that_cannot_be_reached_in_time_is_named(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_out(*_: object) -> None:
        raise ConnectTimeoutError

    monkeypatch.setattr(connections_module, "connect", time_out)
    http.open_with({"https_proxy": "http://user:secret@proxy.test:3128"})
    _, text = failure_of(lambda: get(http, "https://service.test/"))
    assert text == "cannot connect to https://service.test:443: proxy proxy.test:3128: timed out"


def test_silent_proxy_was_not_told_anything() -> None:
    """The time runs out before the tunnel stands, so no session can have been opened."""
    is_asked = threading.Event()

    def serve(connection: socket.socket) -> None:
        received_request(connection)
        is_asked.set()
        connection.recv(1)

    with listening(serve, []) as port, HttpClient(Deadline(20), try_seconds=0.2) as http:
        http.open_with({"https_proxy": f"http://127.0.0.1:{port}"})
        error, _ = failure_of(lambda: get(http, "https://service.test/", is_repeatable=False))
        assert is_asked.is_set()
    assert not error.may_have_acted
