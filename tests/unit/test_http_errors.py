# SPDX-License-Identifier: GPL-3.0-or-later
"""Every failure of a transport becomes one readable error."""

import inspect
import threading
from collections.abc import Callable
from functools import partial
from itertools import product

import pytest

from spank_qrmi.clients import transport
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.transport import (
    AnswerTimeoutError,
    BrokenConnectionError,
    ConnectError,
    ConnectTimeoutError,
    Limits,
    NoAnswerError,
    NotSentError,
    ProxyError,
    Request,
    Response,
    SettingsError,
    Transport,
    TransportError,
    UntrustedError,
)
from tests.unit.fake_services import FakeService, RecordingDeadline, ask, failure_of
from tests.unit.outcomes import trying

GET = "GET /path"

pytestmark = pytest.mark.usefixtures("no_secret_in_logs")

CANNOT_CONNECT = "cannot connect to https://api.test:443"
NO_PROXY = "the proxy does not connect us to https://api.test:443"
NO_ANSWER = "no answer from https://api.test:443/path within 30 s"
BROKEN = "the connection broke before the answer of https://api.test:443/path was complete"
FAILED = "the request to https://api.test:443/path failed"
UNUSABLE = "cannot prepare the request to https://api.test:443: http_proxy: odd"

NOT_SENT_BUT_NEXT_TIME = [
    (ConnectError("refused"), f"{CANNOT_CONNECT}: refused; gave up"),
    (ConnectError(), f"{CANNOT_CONNECT}; gave up"),
    (ConnectTimeoutError(), f"{CANNOT_CONNECT} within 30 s; gave up"),
    (ProxyError(407), f"{NO_PROXY} (it answered 407): check the proxy settings; gave up"),
    (ProxyError(), f"{NO_PROXY}: check the proxy settings; gave up"),
]
NEVER_SENT = [
    (UntrustedError("self-signed"), f"{CANNOT_CONNECT}: self-signed"),
    (SettingsError("http_proxy: odd"), UNUSABLE),
    (NotSentError(), f"{FAILED} (NotSentError)"),
]
PERHAPS_SENT = [
    (AnswerTimeoutError(), NO_ANSWER),
    (BrokenConnectionError(), BROKEN),
    (NoAnswerError(), BROKEN),
]
UNEXPECTED = [TransportError(), RuntimeError("x"), OSError(5, "x"), ValueError("x"), KeyError("x")]


@pytest.mark.parametrize(("error", "expected"), NOT_SENT_BUT_NEXT_TIME, ids=repr)
def test_what_was_not_sent_is_tried_again(error: Exception, expected: str) -> None:
    for is_repeatable in (True, False):
        with trying(is_repeatable):
            service = FakeService({GET: error})
            raised, text = failure_of(partial(ask, service, is_repeatable=is_repeatable))
            assert text == f"{expected} after 5 tries"
            assert len(service.requests) == 5
            assert not raised.may_have_acted
            assert raised.__cause__ is not None


@pytest.mark.parametrize(("error", "expected"), NEVER_SENT, ids=repr)
def test_what_cannot_be_sent_is_not_tried_again(error: Exception, expected: str) -> None:
    for is_repeatable in (True, False):
        with trying(is_repeatable):
            service = FakeService({GET: error})
            raised, text = failure_of(partial(ask, service, is_repeatable=is_repeatable))
            assert text == expected
            assert len(service.requests) == 1
            assert not raised.may_have_acted


@pytest.mark.parametrize(("error", "expected"), PERHAPS_SENT, ids=repr)
def test_what_may_have_been_sent_is_tried_again_if_that_does_no_harm(
    error: Exception, expected: str
) -> None:
    service = FakeService({GET: error})
    raised, text = failure_of(lambda: ask(service, is_repeatable=True))
    assert text == f"{expected}; gave up after 5 tries"
    assert (len(service.requests), raised.may_have_acted) == (5, False)
    service = FakeService({GET: error})
    raised, text = failure_of(lambda: ask(service, is_repeatable=False))
    assert text == expected
    assert (len(service.requests), raised.may_have_acted) == (1, True)


def test_unexpected_failure_is_named_and_may_have_acted() -> None:
    for error, is_repeatable in product(UNEXPECTED, (True, False)):
        with trying((error, is_repeatable)):
            service = FakeService({GET: error})
            raised, text = failure_of(partial(ask, service, is_repeatable=is_repeatable))
            assert text == f"{FAILED} ({type(error).__name__})"
            assert len(service.requests) == 1
            assert raised.may_have_acted is not is_repeatable


class _EndingEarly(Transport):
    """Fails before anything is sent."""

    def send(
        self, _request: Request, _limits: Limits, _before_sending: Callable[[], None]
    ) -> Response:
        raise ValueError("x")

    def close(self) -> None:
        pass


def test_unexpected_failure_before_anything_was_sent_has_not_acted() -> None:
    with HttpClient(RecordingDeadline(), transport=_EndingEarly()) as http:
        error, text = failure_of(
            lambda: http.request("POST", "https://api.test/path", headers={}, is_repeatable=False)
        )
    assert text == f"{FAILED} (ValueError)"
    assert not error.may_have_acted


@pytest.mark.parametrize("is_repeatable", [True, False])
def test_without_a_thread_nothing_is_asked(
    is_repeatable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    service = FakeService({})
    monkeypatch.setattr(threading.Thread, "start", refuse)
    error, text = failure_of(lambda: ask(service, is_repeatable=is_repeatable))
    assert text == (
        "https://api.test:443/path was not asked: no more threads can be started; "
        "gave up after 5 tries"
    )
    assert (service.requests, error.may_have_acted) == ([], False)


def test_every_error_of_a_transport_is_tried_here() -> None:
    tried = {type(error) for error, _ in NOT_SENT_BUT_NEXT_TIME + NEVER_SENT + PERHAPS_SENT}
    classes = {each for _, each in inspect.getmembers(transport, inspect.isclass)}
    assert {each for each in classes if issubclass(each, TransportError)} == {
        TransportError,
        *tried,
    }


@pytest.mark.parametrize("is_repeatable", [True, False])
def test_a_thread_that_ends_without_answer_leaves_nobody_waiting(
    is_repeatable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: has_ended.set())

    def exit_thread(_: object) -> None:
        raise SystemExit

    error, text = failure_of(
        lambda: ask(FakeService({GET: exit_thread}), is_repeatable=is_repeatable)  # type: ignore[dict-item]
    )
    assert has_ended.wait(10)
    assert text == "the request to https://api.test:443/path ended without an answer"
    assert error.may_have_acted is not is_repeatable


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("https_proxy", "odd://user:pw@proxy", "https_proxy: write the proxy as http://host:port"),
        ("SSL_CERT_FILE", "/missing.pem", "SSL_CERT_FILE: /missing.pem cannot be read"),
        ("SSL_CERT_DIR", "/missing", "SSL_CERT_DIR: /missing cannot be read"),
    ],
)
def test_unusable_site_settings_are_readable(
    name: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv(name, value)
    with HttpClient(RecordingDeadline()) as http:
        error, text = failure_of(
            lambda: http.request("POST", "https://127.0.0.1:9/", headers={}, is_repeatable=False)
        )
    assert text.startswith(f"cannot prepare the request to https://127.0.0.1:9: {expected}")
    assert "pw" not in text
    assert not error.may_have_acted


@pytest.mark.parametrize("body", [{"json": {"a": "\udcff"}}, {"form": {"key": "\udcff"}}])
def test_body_that_cannot_be_encoded_is_not_sent(body: dict[str, dict[str, str]]) -> None:
    with HttpClient(RecordingDeadline()) as http:
        error, text = failure_of(
            lambda: http.request("POST", "https://h/", headers={}, is_repeatable=False, **body)  # type: ignore[arg-type]
        )
    assert text == "a setting of the resource has characters that cannot be sent"
    assert not error.may_have_acted
