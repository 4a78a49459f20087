# SPDX-License-Identifier: GPL-3.0-or-later
"""Which proxy is asked for which service, what it is told, and what becomes of its refusals."""

import base64
import os
import socket
import threading
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest

from loopback.tls_entrance import tls_entrance_to
from spank_qrmi.clients import http as http_module
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.response import Response
from spank_qrmi.deadline import Deadline
from tests.unit.fake_services import RecordingDeadline, failure_of
from tests.unit.outcomes import outcome_of, trying
from tests.unit.scripted_server import (
    HANG_UP,
    OK,
    lines_of,
    listening,
    received_request,
    scripted_server,
    tunnelling_proxy,
)

LOGIN = "user:p%40ss"
PROOF = "Proxy-Authorization: Basic " + base64.b64encode(b"user:p@ss").decode()


def get(http: HttpClient, url: str, *, is_repeatable: bool = True) -> Response:
    return http.request("GET", url, headers={}, is_repeatable=is_repeatable, max_tries=1)


# The hosts that are connected to for http:// and https://.
BY_SCHEME = [
    ({"all_proxy": "http://a:1", "https_proxy": "http://b:1"}, ["a", "b"]),
    ({"HTTP_PROXY": "http://a:1", "HTTPS_PROXY": "b:1"}, ["a", "b"]),
    ({"HTTP_PROXY": "http://a:1", "http_proxy": "http://b:1"}, ["b", "s.test"]),
    ({"HTTP_PROXY": "http://a:1", "http_proxy": ""}, ["s.test", "s.test"]),
    ({"http_proxy": "HTTP://A:1/"}, ["a", "s.test"]),
    ({"http_proxy": "http://[::1]:1"}, ["::1", "s.test"]),
    ({"http_proxy": "user:p@ss@a:1"}, ["a", "s.test"]),
]
# What goes straight, and what by the proxy.
BY_NO_PROXY = [
    ("*", ["http://s.test/", "https://1.2.3.4/"], []),
    ("s.test", ["http://s.test/", "https://a.s.test:1/"], ["http://as.test/", "http://test/"]),
    (".s.test", ["http://a.s.test/"], ["http://s.test/", "http://as.test/"]),
    (" S.Test , other", ["http://s.test/", "http://other/"], ["http://s.test.evil/"]),
    ("s.test:8080", ["http://s.test:8080/"], ["http://s.test/", "https://s.test/"]),
    ("127.0.0.1,::1", ["http://127.0.0.1/", "http://[::1]:1/"], ["http://127.0.0.2/"]),
    # What other programs read in other ways.
    ("10.0.0.0/8,127.1", [], ["http://10.9.8.7/", "http://127.0.0.1/"]),
]


def test_proxy_is_that_of_the_scheme_and_some_hosts_go_straight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts: list[str] = []

    def refuse(address: tuple[str, int], *_: object, **__: object) -> None:
        hosts.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    asked = [
        (each, ["http://s.test/", "https://s.test/"], expected) for each, expected in BY_SCHEME
    ]
    for (no_proxy, straight, by_proxy), name in product(BY_NO_PROXY, ("no_proxy", "NO_PROXY")):
        expected = [httpx.URL(url).host for url in straight] + ["proxy"] * len(by_proxy)
        variables = {"all_proxy": "http://proxy:1", name: no_proxy}
        asked.append((variables, [*straight, *by_proxy], expected))
    for variables, urls, expected in asked:
        hosts.clear()
        with trying(variables), HttpClient(RecordingDeadline()) as http:
            http.open_with(variables)
            for url in urls:
                outcome_of(get, http, url)
            assert hosts == expected


def test_variables_of_one_client_win_over_the_processes_and_do_not_reach_another(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NEW_NAME", raising=False)
    with scripted_server(OK) as proxy:
        http.open_with({"http_proxy": proxy.url, "NO_PROXY": "x", "NEW_NAME": "1"})
        assert os.environ["http_proxy"] == "http://127.0.0.1:9"
        assert not {"NO_PROXY", "NEW_NAME"}.intersection(os.environ)
        get(http, "http://service.test/")
    assert len(proxy.requests) == 1
    monkeypatch.delenv("http_proxy")
    with scripted_server(OK) as service, HttpClient(RecordingDeadline()) as other:
        other.open_with({})
        # Others are opened between this one's opening and its first request.
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        get(other, service.url)
        get(other.within(Deadline(20)), service.url)
    assert len(service.requests) == 2


def test_variables_of_the_process_are_changed_by_one_client_at_a_time(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only while httpx makes its client, which reads them then."""
    seen: list[tuple[str | None, bool]] = []
    make = httpx.Client

    def look_and_make(**options: Any) -> httpx.Client:
        is_alone = http_module._setting_variables.locked()
        seen.append((os.environ.get("http_proxy"), is_alone))
        return make(**options)

    monkeypatch.setattr(httpx, "Client", look_and_make)
    http.open_with({"http_proxy": "http://127.0.0.1:9"})
    assert seen == [("http://127.0.0.1:9", True)]
    assert "http_proxy" not in os.environ
    failure_of(lambda: get(http, "http://service.test/"))
    assert len(seen) == 1


UNUSABLE = [
    *("https://proxy:1", "socks5h://user:secret@proxy", "http://user:secret@", "http://proxy:x"),
    *("http://proxy/path", "http://user:sec#ret@proxy", "http://user:12/secret@proxy", "a\0b"),
    *("http://user:12?secret@proxy", "http://user:secret\udcff@proxy"),
]


NO_PROXY = ("[::1]", "s.test:x", "s.test:" + "4" * 5000, "a\0b", "fd00::/8")


def test_unusable_variable_is_named_without_its_value() -> None:
    proxy = "write the proxy as http://host:port; https:// and socks:// are not supported"
    names = ("http_proxy", "https_proxy", "all_proxy", "ALL_PROXY")
    unusable = [
        ({name: value}, f"{name.lower()}: {proxy}") for name, value in product(names, UNUSABLE)
    ]
    hosts = "write names, .suffixes and addresses, without brackets, with commas between them"
    for value in NO_PROXY:
        unusable.append(({"all_proxy": f"{LOGIN}@h", "no_proxy": value}, f"no_proxy: {hosts}"))
    before = dict(os.environ)
    for variables, told in unusable:
        with trying(variables), HttpClient(RecordingDeadline()) as http:
            error, text = failure_of(partial(http.open_with, variables))
            assert text == f"cannot prepare requests: {told}"
            assert dict(os.environ) == before
            cause = error.__cause__
            assert cause is not None
            assert str(cause) in text
            assert cause.__context__ is None or cause.__suppress_context__


def test_http_goes_through_the_proxy_with_the_whole_address(http: HttpClient) -> None:
    with scripted_server(OK) as proxy:
        http.open_with({"http_proxy": f"http://{LOGIN}@127.0.0.1:{proxy.port}"})
        get(http, "http://service.test:8080/path")
    first, *headers = lines_of(proxy.requests[0])
    assert first == "GET http://service.test:8080/path HTTP/1.1"
    assert {"Host: service.test:8080", PROOF} <= set(headers)


def test_login_of_a_proxy_is_sent_to_it_alone(http: HttpClient, tmp_path: Path) -> None:
    with (
        scripted_server(OK) as service,
        tls_entrance_to(service.url, tmp_path) as entrance,
        tunnelling_proxy() as (port, asked),
    ):
        trusted = {"SSL_CERT_FILE": str(entrance.certificate)}
        http.open_with({"https_proxy": f"http://{LOGIN}@127.0.0.1:{port}", **trusted})
        assert get(http, f"{entrance.url}/path").status == 200
        # What is wrong behind the tunnel is not the proxy's fault.
        with HttpClient(RecordingDeadline()) as other:
            other.open_with({"https_proxy": f"http://127.0.0.1:{port}"})
            _, text = failure_of(lambda: get(other, entrance.url))
            assert text.startswith(f"cannot connect to {entrance.url}: its certificate")
    tunnel, _ = asked
    place = entrance.url.removeprefix("https://")
    first, *headers = lines_of(tunnel)
    assert first == f"CONNECT {place} HTTP/1.1"
    assert {f"Host: {place}", PROOF} <= set(headers)
    assert lines_of(service.requests[0])[0] == "GET /path HTTP/1.1"
    assert b"proxy-authorization" not in service.requests[0].lower()


REFUSALS = [
    (b"HTTP/1.1 407 Denied\r\nContent-Length: 0\r\n\r\n", " (it answered 407)"),
    (b"HTTP/1.1 302 Found\r\nLocation: https://evil.test/\r\n\r\n" + HANG_UP, " (it answered 302)"),
    (b"SSH-2.0\r\n\r\n", ""),
    (HANG_UP, ""),
]


def test_proxy_that_opens_no_tunnel_was_not_told_anything() -> None:
    """What goes to the proxy opens no session: the service has seen nothing of it."""
    for answer, expected in REFUSALS:
        with trying(answer), scripted_server(answer) as proxy, HttpClient(Deadline(20)) as http:
            http.open_with({"https_proxy": f"http://{LOGIN}@127.0.0.1:{proxy.port}"})
            error, text = failure_of(
                lambda http=http: get(http, "https://service.test/", is_repeatable=False)
            )
            assert text == (
                f"the proxy does not connect us to https://service.test:443{expected}: "
                "check the proxy settings"
            )
            assert not error.may_have_acted
            assert len(proxy.requests) == 1


def test_silent_proxy_was_not_told_anything() -> None:
    """The time runs out before the tunnel stands, so no session can have been opened."""
    is_asked = threading.Event()

    def serve(connection: socket.socket) -> None:
        received_request(connection)
        is_asked.set()
        connection.recv(1)

    with listening(serve, []) as port, HttpClient(Deadline(20), try_seconds=0.2) as http:
        http.open_with({"https_proxy": f"http://127.0.0.1:{port}"})
        error, text = failure_of(lambda: get(http, "https://service.test/", is_repeatable=False))
        assert is_asked.is_set()
    assert text.startswith("the proxy does not connect us to https://service.test:443: ")
    assert not error.may_have_acted


def test_proxy_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(*_: object, **__: object) -> None:
        raise TimeoutError

    connect = socket.create_connection
    for scheme, connect_or_fail, reason in (
        ("http", connect, "connection refused"),
        ("https", connect, "connection refused"),
        ("https", time_out, "timed out"),
    ):
        url = f"{scheme}://service.test:1"
        monkeypatch.setattr(socket, "create_connection", connect_or_fail)
        with trying((scheme, reason)), HttpClient(RecordingDeadline()) as http:
            http.open_with({f"{scheme}_proxy": "http://user:secret@127.0.0.1:9"})
            error, text = failure_of(partial(get, http, url, is_repeatable=False))
            assert text == f"cannot connect to {url}: proxy 127.0.0.1:9: {reason}"
            assert not error.may_have_acted
