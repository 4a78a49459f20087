# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests within a deadline: what is sent, repeated and refused, and how failures read."""

import re
import threading
import time
from functools import partial
from importlib.metadata import version
from itertools import product
from typing import Any
from unittest.mock import Mock

import httpx
import pytest

from spank_qrmi.clients.http import BODY_LIMIT_BYTES, HttpClient
from spank_qrmi.clients.request import plain_url
from spank_qrmi.clients.response import Response
from spank_qrmi.clients.retry import status_failure
from tests.unit.fake_services import (
    API_KEY,
    BEARER_TOKEN,
    FakeService,
    RecordingDeadline,
    ask,
    failure_of,
    reply,
)
from tests.unit.outcomes import trying

URL = "https://api.test/path"
SHOWN_URL = "https://api.test:443/path"
UNUSABLE_URL = "an endpoint's URL cannot be used: correct the resource's endpoints"
GET = "GET /path"
POST = "POST /path"


def test_spellings_of_a_url_are_known_in_no_time() -> None:
    """Root compares a user's with the site's."""
    spelled = {
        "https://Site.test:443/a/": "https://site.test:443/a",
        "HTTPS://SITE.TEST/a": "https://site.test:443/a",
        "site.test": None,
        "https://site.test/..": None,
        f"https://site.test/{'a' * 2000}": None,
        **{f"https://{name * 120_000}": None for name in ("ü", "ü.", "a.", "%", "/")},
    }
    began = time.process_time()
    assert {text: plain_url(text) for text in spelled} == spelled
    assert time.process_time() - began < 1.0


def test_request_carries_our_headers_and_body_and_returns_the_answer() -> None:
    service = FakeService({POST: reply(201, {"id": 1}, X_Some="1")})
    answer = ask(service, method="POST", json={"a": [1]}, is_repeatable=False)
    [sent] = service.requests
    assert sent.headers["user-agent"] == f"spank-qrmi/{version('spank-qrmi')}"
    assert sent.headers["accept"] == "application/json"
    assert sent.headers["accept-encoding"] == "identity"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["authorization"] == f"Bearer {BEARER_TOKEN}"
    assert sent.content == b'{"a":[1]}'
    assert (answer.status, answer.is_success, answer.json_object()) == (201, True, {"id": 1})
    assert answer.headers["x-some"] == "1"
    assert answer.source == SHOWN_URL
    assert "id" not in repr(answer)


def test_cookies_are_neither_kept_nor_sent() -> None:
    service = FakeService({GET: reply(200, {}, Set_Cookie="a=b; Domain=api.test; Path=/")})
    with service.http() as http:
        for _ in range(2):
            http.request("GET", URL, headers={}, is_repeatable=True)
    assert [request.headers.get("cookie") for request in service.requests] == [None, None]


def test_every_operation_has_a_timeout_of_30_s_or_what_is_left() -> None:
    service = FakeService({GET: reply()})
    ask(service)
    ask(service, RecordingDeadline(10))
    first, second = (request.extensions["timeout"] for request in service.requests)
    assert (first["read"], first["write"]) == (30.0, 30.0)
    assert 9 < second["read"] == second["write"] <= 10
    # An address that does not answer leaves time for another of the name.
    assert first["connect"] == 15.0


def test_each_try_has_headers_of_its_own_which_no_text_shows() -> None:
    proofs = iter(["proof-of-try-1", "proof-of-try-2"])
    refusal = reply(400, {"message": "not proof-of-try-2"})
    service = FakeService({GET: [reply(503), refusal]})
    answer = ask(
        service, headers={"X-Same": "same"}, headers_of_try=lambda: {"X-Proof": next(proofs)}
    )
    sent = [(each.headers["x-same"], each.headers["x-proof"]) for each in service.requests]
    assert sent == [("same", "proof-of-try-1"), ("same", "proof-of-try-2")]
    assert answer.status_text() == "400 Bad Request: not ****"


def test_status_that_the_client_judges_is_no_failure() -> None:
    service = FakeService({POST: [reply(500, {"a": 1}), reply(503)]})
    judge = partial(ask, service, method="POST", is_repeatable=False, judged=(500,))
    answer = judge()
    assert (answer.status, answer.json_object()) == (500, {"a": 1})
    failure_of(judge)


def test_no_try_begins_that_does_not_fit_the_time() -> None:
    no_more = "Internal Server Error; gave up after 1 try, no time is left"
    too_long = "the service asks to wait 999999999 s, which is longer than we may"
    busy = reply(429, Retry_After="99999999999999999999")
    for answer, seconds, share, tries, told in (
        (reply(), 0, 1.0, 0, f"no time is left to ask {SHOWN_URL}"),
        (reply(500), 0.5, 1.0, 1, f"{SHOWN_URL} answered 500 {no_more}"),
        (reply(500), 3, 0.1, 1, f"{SHOWN_URL} answered 500 {no_more}"),
        (busy, 1000, 1.0, 1, f"{SHOWN_URL} answered 429 Too Many Requests; {too_long}"),
    ):
        with trying((answer, seconds, share)):
            service, deadline = FakeService({GET: answer}), RecordingDeadline(seconds)
            error, text = failure_of(partial(ask, service, deadline, share=share))
            assert (len(service.requests), deadline.has_passed()) == (tries, not tries)
            assert error.status == (answer.status_code if tries else None)
            assert text == told


def test_one_debug_record_per_request_without_query(caplog: pytest.LogCaptureFixture) -> None:
    ask(FakeService({GET: [reply(503), reply()]}))
    assert [re.sub(r"\d+ ms", "N ms", message) for message in caplog.messages] == [
        "GET api.test:443/path: 503, N ms",
        "GET api.test:443/path: 200, N ms",
    ]


def test_repeatable_request_is_made_five_times() -> None:
    for status in (408, 423, 429, 500, 502, 503, 504):
        with trying(status):
            service = FakeService({GET: reply(status, {"message": "later"})})
            deadline = RecordingDeadline()
            error, text = failure_of(partial(ask, service, deadline))
            assert len(service.requests) == 5
            for wait, base in zip(deadline.waits, (1, 2, 4, 8), strict=True):
                assert base * 0.75 <= wait <= base * 1.25
            assert error.status == status
            assert not error.may_have_acted
            assert text.startswith(f"https://api.test:443/path answered {status} ")
            assert text.endswith(": later; gave up after 5 tries")


def test_what_opens_a_session_is_repeated_only_if_nothing_happened() -> None:
    for first, is_repeated, may_have_acted in (
        (reply(429), True, False),
        (reply(423), True, False),
        (reply(503, None, Retry_After="0"), True, False),
        (reply(503), False, True),
        (reply(500), False, True),
        (reply(408), False, False),
        (reply(409), False, None),
    ):
        with trying(first):
            service = FakeService({POST: [first, reply(201, {})]})
            open_session = partial(ask, service, method="POST", is_repeatable=False)
            if is_repeated or may_have_acted is None:
                open_session()
            else:
                assert failure_of(open_session)[0].may_have_acted is may_have_acted
            assert len(service.requests) == (2 if is_repeated else 1)


RETRY_AFTER = {
    **dict.fromkeys(("-1", "nan", "1e9", "1_0", "5, 5", "\u0663", "soon", "a" * 50_000)),
    # Years that are too large in one way or the other.
    **dict.fromkeys(f"1 Jan {'9' * digits} 00:00:00" for digits in (9, 20, 5000)),
    "7": 7.0,
    "  9 ": 9.0,
    "9" * 50_000: 999_999_999.0,
    "Thu, 01 Jan 1970 00:01:00 GMT": 20.0,
    "Fri, 31 Dec 9999 23:59:59 GMT": 253_402_300_759.0,
    "1 Jan 1969 99:99:99": 0.0,
    "Thu, 01 Jan 1970 00:00:00 +99999999999999": 0.0,
}


def test_retry_after_is_a_wait_or_nothing_and_honoured_if_it_is_longer_than_our_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.time", lambda: 40.0)
    for header, seconds in RETRY_AFTER.items():
        with trying(header):
            answer = Response(503, "https://h:443/", {"retry-after": header}, b"")
            failure = status_failure(answer, is_repeatable=True)
            assert failure is not None
            assert failure.retry_after_seconds == seconds
    for header, least, most in (("7", 7.0, 7.0), ("0", 0.75, 1.25)):
        deadline = RecordingDeadline()
        ask(FakeService({GET: [reply(429, None, Retry_After=header), reply()]}), deadline)
        [wait] = deadline.waits
        assert least <= wait <= most


def test_too_large_answer_is_refused() -> None:
    exact = FakeService({GET: httpx.Response(200, content=b"x" * BODY_LIMIT_BYTES)})
    assert len(ask(exact).body) == BODY_LIMIT_BYTES
    larger = FakeService({GET: httpx.Response(200, content=b"x" * (BODY_LIMIT_BYTES + 1))})
    _, text = failure_of(lambda: ask(larger))
    assert text == "the answer of https://api.test:443/path is larger than 1 MiB"
    assert len(larger.requests) == 1


def test_address_is_sent_to_as_it_is_shown() -> None:
    for url, shown in (
        ("https://host", "https://host:443/"),
        ("HTTP://Host.Test:80/Path", "http://host.test:80/Path"),
        ("http://[0:0::1]/x", "http://[::1]:80/x"),
        ("https://[2001:DB8::1]:1", "https://[2001:db8::1]:1/"),
        ("https://h\u00f4te.example/\u00fc", "https://xn--hte-kna.example:443/%C3%BC"),
        ("http://h/a%2fb%20c/.d", "http://h:80/a%2fb%20c/.d"),
        ('http://h/"<>', "http://h:80/%22%3C%3E"),
        ("http://0x7f000001", "http://0x7f000001:80/"),
    ):
        with trying(url):
            sent_to = httpx.URL(shown)
            service = FakeService({f"GET {sent_to.raw_path.decode()}": reply(500)})
            _, text = failure_of(partial(ask, service, url=url, query={}, max_tries=1))
            assert [each.url for each in service.requests] == [sent_to]
            assert text.startswith(f"{shown} answered 500")
    path = "/%0a" + "b" * 500
    _, text = failure_of(
        partial(ask, FakeService({f"GET {path}": reply(500)}), url=f"http://h{path}")
    )
    assert text.startswith(f"http://h:80{path[:200]} answered 500")


UNUSABLE_URLS = [
    *("", "api.test/path", "ftp://h", "https://user:pass@api.test/path", "http://h/?a=b"),
    *("http://h:65536", "http://h:0/", "http://[1.2.3.4]", "http://[:::]", "http://1.2.3.256/"),
    *("http://010.0.0.1/", "http://h\\@evil/", "http://h/\r\nX: y", "http://a%2fb/", "http://h!/"),
    *("http://" + "\u00e4" * 70, "http://\u00e4..b/", "http://h/a/../b", "http://h/./b"),
    # No TLS library takes the first, no name server the others.
    *("http://.h/", f"http://{'h.' * 128}", "http://a..b/", f"http://{'a' * 64}.test/"),
    # What another rule would send elsewhere.
    *("https://fa\u00df.test/", "http://\uff48ost.test/", "http://\u00e4\u3002test/"),
    *("http://\u2100/", "http://a\u200db.test/", "http://\u212aelvin.test/", "http\u017f://h/"),
    *("https://api.test/\udcff", "http://\udcff/", "http://h/\u202e"),
]


def test_what_cannot_be_sent_is_refused_before_any_request() -> None:
    cannot = "has characters that cannot be sent"
    no_header = f"the value of the header Service-CRN {cannot}"
    no_headers = ("a\r\nX-Evil: 1", "ü", "\udcff", " a", "a ")
    no_setting = f"a setting of the resource {cannot}"
    requests: list[tuple[dict[str, Any], str]] = [
        *(({"url": url}, UNUSABLE_URL) for url in UNUSABLE_URLS),
        ({"query": {"key": f"{API_KEY}\udcff"}}, UNUSABLE_URL),
        *(({"headers": {"Service-CRN": value}}, no_header) for value in no_headers),
        *(({body: {"key": "\udcff"}}, no_setting) for body in ("json", "form")),
    ]
    for request, told in requests:
        with trying(request):
            post = partial(ask, FakeService({}), method="POST", is_repeatable=False, **request)
            error, text = failure_of(post)
            assert (text, error.may_have_acted) == (told, False)


def test_clock_of_a_service_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_700_000_100.0)
    for date, offset in (
        ("Tue, 14 Nov 2023 22:13:20 GMT", 100.0),
        ("Tue, 14 Nov 2023 22:13:20 -0000", 100.0),
        ("Tue, 14 Nov 2023 23:15:30 +0100", -30.0),
        *((broken, None) for broken in ("", "soon", "Tue, 99 Nov 2023 99:99:99 GMT")),
        ("Tue, 14 Nov 99999999999999999999 22:13:20 GMT", None),
    ):
        with trying(date), FakeService({GET: reply(503, date=date)}).http() as http:
            client = http.within(RecordingDeadline())
            failure_of(partial(client.request, "GET", URL, headers={}, is_repeatable=True))
            assert http.clock_offsets == ({} if offset is None else {"api.test:443": offset})


SECRET = "secret-Lk29-in-a-text-of-httpx"

CANNOT_CONNECT = "cannot connect to https://api.test:443"
NO_ANSWER = f"no answer from {SHOWN_URL} within 30 s"
BROKEN = f"the connection broke before the answer of {SHOWN_URL} was complete"
FAILED = f"the request to {SHOWN_URL} failed"


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


def test_thread_that_ends_without_answer_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    has_ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: has_ended.set())

    def exit_thread(_: object) -> httpx.Response:
        raise SystemExit

    for is_repeatable in (True, False):
        has_ended.clear()
        service = FakeService({GET: exit_thread})
        error, text = failure_of(partial(ask, service, is_repeatable=is_repeatable))
        assert has_ended.wait(10)
        assert text == f"the request to {SHOWN_URL} ended without an answer"
        assert error.may_have_acted is not is_repeatable


def test_without_a_thread_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = Mock(side_effect=RuntimeError("can't start new thread"))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    for is_repeatable in (True, False):
        service = FakeService({})
        error, text = failure_of(partial(ask, service, is_repeatable=is_repeatable))
        no_thread = "no more threads can be started; gave up after 5 tries"
        assert text == f"{SHOWN_URL} was not asked: {no_thread}"
        assert (service.requests, error.may_have_acted) == ([], False)


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
