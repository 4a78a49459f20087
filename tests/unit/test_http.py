# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests within a deadline: what is sent, repeated and refused."""

import re
import time
from email.utils import formatdate
from functools import partial
from importlib.metadata import version

import httpx
import pytest

from spank_qrmi.clients.http import BODY_LIMIT_BYTES, USER_AGENT, HttpClient
from spank_qrmi.errors import ServiceError
from tests.unit.fake_services import (
    BEARER_TOKEN,
    CREDENTIAL_HEADERS,
    FakeService,
    RecordingDeadline,
    ask,
    failure_of,
    reply,
    text_of,
)
from tests.unit.outcomes import trying

GET = "GET /path"
POST = "POST /path"


pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


def test_request_carries_our_headers_and_body_and_returns_the_answer() -> None:
    service = FakeService({POST: reply(201, {"id": 1}, X_Some="1", Set_Cookie="a=b")})
    with service.http() as http:
        for _ in range(2):
            answer = http.request(
                "POST",
                "https://api.test/path",
                headers=CREDENTIAL_HEADERS,
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
    assert service.requests[0].content == b"z=x%3Ay&a=1%202"
    assert service.requests[0].headers["content-type"] == "application/x-www-form-urlencoded"
    assert service.requests[0].url.params["q"] == "a b&c"


def test_user_agent_names_the_version_of_the_package() -> None:
    assert f"spank-qrmi/{version('spank-qrmi')}" == USER_AGENT


def test_every_operation_has_a_timeout_of_30_s_or_what_is_left() -> None:
    service = FakeService({GET: reply()})
    ask(service)
    ask(service, RecordingDeadline(10))
    first, second = (request.extensions["limits"] for request in service.requests)
    assert first.silence_seconds == 30.0
    assert 9 < second.silence_seconds <= 10


def test_share_limits_a_request_to_its_part_of_the_time() -> None:
    service = FakeService({GET: reply(503)})
    deadline = RecordingDeadline(3)
    with service.http(deadline) as http, pytest.raises(ServiceError, match="no time is left"):
        http.request("GET", "https://api.test/path", headers={}, is_repeatable=True, share=0.1)
    assert len(service.requests) == 1
    assert not deadline.has_passed()


def test_a_client_that_was_never_used_opens_nothing() -> None:
    with HttpClient(RecordingDeadline()) as http:
        assert http._transport is None


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


EXPECTED_WAITS = {
    "7": 7.0,
    "0": None,
    "  9 ": 9.0,
    "-3": None,
    "1e9": None,
    "²": None,
    "soon": None,
    "Wed, 99 Foo 99999 99:99:99": None,
    "Wed, 01 Jan 999999999 00:00:00 GMT": None,
    formatdate(0, usegmt=True): None,
}


def test_retry_after_is_honoured() -> None:
    for header, expected_wait in EXPECTED_WAITS.items():
        with trying(header):
            refused = httpx.Response(429, headers=[(b"Retry-After", header.encode())])
            deadline = RecordingDeadline()
            ask(FakeService({GET: [refused, reply()]}), deadline)
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
    _, text = failure_of(lambda: ask(service, RecordingDeadline(0.5)))
    assert len(service.requests) == 1
    assert text.endswith("gave up after 1 try, no time is left")


def test_nothing_is_sent_after_the_deadline() -> None:
    service = FakeService({GET: reply()})
    _, text = failure_of(lambda: ask(service, RecordingDeadline(0)))
    assert not service.requests
    assert text == "no time is left to ask https://api.test:443/path"


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://u:p@evil.test:99/x?y=1", "to evil.test:"),
        ("//evil.test/x", "to evil.test:"),
        ("ftp://evil.test", "to evil.test:"),
        ("/other", "to the same host:"),
        ("https://[bad", "to an unreadable address:"),
        ("", "to the same host:"),
    ],
)
def test_redirects_are_never_followed(location: str, shown: str) -> None:
    headers = {"Location": location} if location else {}
    service = FakeService({GET: httpx.Response(302, headers=headers)})
    error, text = failure_of(lambda: ask(service))
    assert {request.url.host for request in service.requests} == {"api.test"}
    assert not error.may_have_acted
    assert shown in text
    assert "y=1" not in text
    assert "u:p" not in text


def test_too_large_answer_is_refused() -> None:
    exact = FakeService({GET: httpx.Response(200, content=b"x" * BODY_LIMIT_BYTES)})
    assert len(ask(exact).body) == BODY_LIMIT_BYTES
    larger = FakeService({GET: httpx.Response(200, content=b"x" * (BODY_LIMIT_BYTES + 1))})
    _, text = failure_of(lambda: ask(larger))
    assert text == "the answer of https://api.test:443/path is larger than 1 MiB"
    assert len(larger.requests) == 1


UNUSABLE_URLS = [
    *("", "api.test/path", "ftp://api.test/", "http:///path", "http://h:x/", "http://h\n/"),
    *("https://user:pass@api.test/path", "https://api.test/\udcff", "https://faß.test/"),
]


def test_unusable_urls_are_readable() -> None:
    for url in UNUSABLE_URLS:
        with trying(url):
            error, text = failure_of(partial(ask, FakeService({}), url=url))
            assert text == "an endpoint's URL cannot be used: correct the resource's endpoints"
            assert not error.may_have_acted


def test_header_values_that_cannot_be_sent_are_refused() -> None:
    for value in ("a\r\nX-Evil: 1", "ü", "\udcff", " a", "a "):
        headers = {"Service-CRN": value}
        with trying(value):
            with FakeService({}).http() as http, pytest.raises(ServiceError) as caught:
                http.request("GET", "http://h/", headers=headers, is_repeatable=True)
            text = text_of(caught.value)
            assert text.startswith("the value of the header Service-CRN has characters")


def test_ipv6_hosts_and_long_hostile_paths_are_shown_safely() -> None:
    service = FakeService({})
    service.handle_request = lambda request: httpx.Response(500)  # type: ignore[method-assign]
    url = "http://[::1]:8080/a\u202e%0a" + "b" * 500
    _, text = failure_of(lambda: ask(service, url=url))
    assert text.startswith("http://[::1]:8080/a%E2%80%AE%0a")
    assert len(text) < 400
