# SPDX-License-Identifier: GPL-3.0-or-later
"""Every failure of httpx becomes one readable error, without a word of httpx's own text."""

import threading
from functools import partial
from itertools import product

import httpx
import pytest

from spank_qrmi.clients.http import HttpClient
from tests.unit.fake_services import FakeService, ask, failure_of
from tests.unit.outcomes import trying

GET = "GET /path"
SECRET = "secret-Lk29-in-a-text-of-httpx"

CANNOT_CONNECT = "cannot connect to https://api.test:443"
NO_ANSWER = "no answer from https://api.test:443/path within 30 s"
BROKEN = "the connection broke before the answer of https://api.test:443/path was complete"
FAILED = "the request to https://api.test:443/path failed"


REFUSED = httpx.ConnectError(SECRET)
REFUSED.__cause__ = ConnectionRefusedError(111, "Refused")
# What is said of each, and whether some of the request may have been sent.
FAILURES: list[tuple[Exception, str, bool]] = [
    (REFUSED, f"{CANNOT_CONNECT}: refused", False),
    (httpx.ConnectError(SECRET), CANNOT_CONNECT, False),
    (httpx.ConnectTimeout(SECRET), f"{CANNOT_CONNECT} within 15 s", False),
    *((kind(SECRET), NO_ANSWER, True) for kind in (httpx.ReadTimeout, httpx.WriteTimeout)),
    *((kind(SECRET), BROKEN, True) for kind in (httpx.ReadError, httpx.WriteError)),
    *((kind(SECRET), BROKEN, True) for kind in (httpx.CloseError, httpx.RemoteProtocolError)),
]


def test_what_fails_is_tried_again_if_that_does_no_harm() -> None:
    for (error, text, was_sent), is_repeatable in product(FAILURES, (True, False)):
        with trying((error, is_repeatable)):
            service = FakeService({GET: error})
            raised, told = failure_of(partial(ask, service, is_repeatable=is_repeatable))
            if was_sent and not is_repeatable:
                assert (told, len(service.requests), raised.may_have_acted) == (text, 1, True)
            else:
                assert told == f"{text}; gave up after 5 tries"
                assert (len(service.requests), raised.may_have_acted) == (5, False)


def test_unexpected_failure_is_named_and_may_have_acted() -> None:
    unexpected = (httpx.LocalProtocolError(SECRET), httpx.DecodingError(SECRET), OSError(5, SECRET))
    for error, is_repeatable in product(unexpected, (True, False)):
        with trying((error, is_repeatable)):
            service = FakeService({GET: error})
            raised, text = failure_of(partial(ask, service, is_repeatable=is_repeatable))
            assert text == f"{FAILED} ({type(error).__name__})"
            assert len(service.requests) == 1
            assert raised.may_have_acted is not is_repeatable
            assert raised.__cause__ is error
    # It knows no such path, so that it fails before anything was sent.
    raised, text = failure_of(partial(ask, FakeService({}), is_repeatable=False))
    assert (text, raised.may_have_acted) == (f"{FAILED} (KeyError)", False)


def test_without_a_thread_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for is_repeatable in (True, False):
        service = FakeService({})
        error, text = failure_of(partial(ask, service, is_repeatable=is_repeatable))
        assert text == (
            "https://api.test:443/path was not asked: no more threads can be started; "
            "gave up after 5 tries"
        )
        assert (service.requests, error.may_have_acted) == ([], False)


@pytest.mark.parametrize("is_repeatable", [True, False])
def test_a_thread_that_ends_without_answer_leaves_nobody_waiting(
    is_repeatable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: has_ended.set())

    def exit_thread(_: object) -> httpx.Response:
        raise SystemExit

    service = FakeService({GET: exit_thread})
    error, text = failure_of(lambda: ask(service, is_repeatable=is_repeatable))
    assert has_ended.wait(10)
    assert text == "the request to https://api.test:443/path ended without an answer"
    assert error.may_have_acted is not is_repeatable


def test_unusable_settings_of_the_process_are_readable(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "odd://user:pw@proxy")
    url = "https://127.0.0.1:9/"
    error, text = failure_of(partial(http.request, "POST", url, headers={}, is_repeatable=False))
    assert text == (
        "cannot prepare the request to https://127.0.0.1:9: https_proxy: write the proxy as "
        "http://host:port; https:// and socks:// are not supported"
    )
    assert not error.may_have_acted
