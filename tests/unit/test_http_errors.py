# SPDX-License-Identifier: GPL-3.0-or-later
"""Every failure of the HTTP libraries becomes one readable error."""

import inspect
import socket
import ssl
import threading
from collections.abc import Callable

import httpcore
import httpx
import pytest

from spank_qrmi.clients.http import HttpClient
from spank_qrmi.errors import ServiceError
from tests.unit.fake_services import (
    FakeService,
    RecordingDeadline,
    ask,
    failure_of,
    text_of,
)

GET = "GET /path"


pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


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
NOT_MADE = {httpx.UnsupportedProtocol, httpx.LocalProtocolError}
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
    elif error_class is httpx.InvalidURL:
        # The request's own URL was checked before: it is that of a redirect.
        text_of_redirect = "https://api.test:443/path wants to send us to an unreadable address"
        expected = (text_of_redirect, 1, not is_repeatable)
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
def test_a_thread_that_ends_without_answer_leaves_nobody_waiting(
    is_repeatable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: has_ended.set())

    def exit_thread(request: httpx.Request) -> httpx.Response:
        raise SystemExit

    error, text = failure_of(
        lambda: ask(FakeService({GET: exit_thread}), is_repeatable=is_repeatable)
    )
    assert has_ended.wait(10)
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
