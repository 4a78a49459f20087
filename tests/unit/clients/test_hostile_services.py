# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service can do to us by its answers, and what it cannot."""

import gzip
import math
import socket
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from itertools import product

import httpx
import orjson
import pytest

from spank_qrmi.clients.http import BODY_LIMIT_BYTES, HttpClient
from spank_qrmi.clients.ibm import AppIdLogin, IamLogin
from spank_qrmi.clients.qiskit_runtime import QiskitRuntime
from spank_qrmi.clients.qrun_service import quantum_system_from
from spank_qrmi.clients.request import HttpRequest
from spank_qrmi.clients.response import Response, error_text
from spank_qrmi.clients.retry import status_failure
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ObjectStoreError, QrmiError, ReleaseError, ServiceError
from spank_qrmi.qrun.object_store import ObjectStore
from spank_qrmi.qrun.settings import StoreSettings
from spank_qrmi.redaction import Redactor, without_url_secrets
from tests.unit.clients.test_quantum_system import IAM
from tests.unit.fake_services import (
    API_KEY,
    BEARER_TOKEN,
    SECRETS,
    SERVICE_CRN,
    FakeService,
    RecordingDeadline,
    ask,
    complaint,
    failure_of,
    ibm_values,
    reply,
    settings_of,
    text_of,
    token_reply,
    unread,
)
from tests.unit.local_network import asking
from tests.unit.outcomes import trying
from tests.unit.scripted_server import HANG_UP, asked_server, drip, scripted_server
from tests.unit.vendors import VENDORS

GET = "GET /path"
PREFIX = "QRMI_IBM_QRS_"
SESSIONS = "/base/sessions"
BACKEND = "/base/backends/ibm_x/status"
SESSION = "session-Rt77-do-not-show"
SIGNED = "https://s3.test/b/k?X-Amz-Signature=abc&X-Amz-Credential=def"

# One of each JSON type where it does not belong, and the largest and oddest of each.
ODD_VALUES = [
    *(None, True, False, 0, -1, 1e308, -(2**63), 2**64 - 1, "", " ", "x" * 10_000, "\n\x1b[31m"),
    *([], {}, [None], [[]], [{}], {"": None}, {"status": {}}, "NaN", "\u202e"),
]


def runtime(service: FakeService, **extra: str) -> asking:
    values = ibm_values(PREFIX, **extra)
    return asking(QiskitRuntime(settings_of(values)), service.http())


def outcome_of(call: Callable[[], object]) -> str:
    """Return what a call gives, or the text of its error, which shows no secret."""
    try:
        return str(call())
    except QrmiError as error:
        return text_of(error)


# ---- Redirects ----

REDIRECTS = [300, 301, 302, 303, 305, 307, 308]
# Which host a text names, or that it is none.
LOCATIONS = {
    "https://evil.test/path": "evil.test",
    "https://u:p@Evil.test:99/x?y=1": "evil.test",
    "//evil.test/path": "evil.test",
    "ftp://evil.test": "evil.test",
    "https://api.test@evil.test/": "evil.test",
    "https://evil.test\\@api.test": "api.test",
    "http://api.test/path": "api.test",
    "https://api.test:8443/path": "api.test",
    "https://API.test./path": "api.test.",
    "https://[::1]:8/": "[::1]",
    "/other": "the same host",
    "?x=1": "the same host",
    "": "the same host",
    "javascript:alert(1)": "the same host",
    # httpx reads where a redirect leads, and fails at these.
    "https://[bad": "an unreadable address",
    "https://h:x/": "an unreadable address",
    "https://\u2488.test/": "an unreadable address",
    "https://\u202eevil.test/": "an unreadable address",
}


def test_no_redirect_takes_credentials_along() -> None:
    for method, status, (location, host) in product(("GET", "POST"), REDIRECTS, LOCATIONS.items()):
        with trying((method, status, location)):
            headers = [(b"Location", location.encode())] if location else []
            service = FakeService({f"{method} /path": httpx.Response(status, headers=headers)})
            asked = partial(ask, service, method=method, is_repeatable=method == "GET")
            error, text = failure_of(asked)
            may_have_acted = status == HTTPStatus.SEE_OTHER and method == "POST"
            assert (error.status, error.may_have_acted) == (status, may_have_acted)
            urls = {str(request.url.copy_with(query=None)) for request in service.requests}
            assert urls == {"https://api.test/path"}
            assert text == (
                f"https://api.test:443/path answered {status} and wants to send us to {host}: "
                "redirects are not followed, correct the endpoint's URL"
            )


def test_redirects_of_iam_and_of_a_session_are_not_followed_either() -> None:
    moved = httpx.Response(307, headers={"Location": "https://evil.test/"})
    iam = FakeService({"POST /identity/token": moved})
    assert "redirects are not followed" in complaint(ServiceError, runtime(iam).check_accessible)
    service = FakeService({f"POST {SESSIONS}": moved})
    assert "redirects are not followed" in complaint(ServiceError, runtime(service).acquire)
    assert {each.url.host for each in iam.requests + service.requests} == {"iam.test", "api.test"}


MOVED = (
    b"HTTP/1.1 %b Moved\r\nLocation: %b\r\nx-amz-bucket-region: %b\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" + HANG_UP
)
ELSEWHERE = b"<Error><Code>%b</Code><Endpoint>%b</Endpoint><Region>%b</Region></Error>"


@pytest.mark.parametrize("status", [b"301", b"302", b"307", b"308", b"400"])
def test_object_store_is_not_left_for_another_host(status: bytes) -> None:
    with scripted_server(HANG_UP) as evil:
        code = b"AuthorizationHeaderMalformed" if status == b"400" else b"PermanentRedirect"
        host = evil.url.removeprefix("http://").encode()
        body = ELSEWHERE % (code, host, host)
        moved = MOVED % (status, f"{evil.url}/path".encode(), host, len(body), body)
        with scripted_server(moved) as store:
            settings = StoreSettings(store.url, "bucket", "us-east-1", "key-id", API_KEY)
            upload = ObjectStore(settings, 5).upload
            complaint(ObjectStoreError, upload, "key", b"content")
    assert (bool(store.requests), evil.requests) == (True, [])


# ---- Size, depth and time ----


def test_compressed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(b"[" * 5_000_000)
    encodings = ("gzip", "GZIP", "br", "zstd", "deflate", "gzip, gzip", "x")
    for encoding, is_repeatable in product(encodings, (True, False)):
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(bomb)}"
        with (
            trying((encoding, is_repeatable)),
            scripted_server(f"{head}\r\n\r\n".encode() + bomb) as server,
            HttpClient(Deadline(20)) as http,
        ):
            ask_it = partial(http.request, "GET", server.url, headers={})
            error, text = failure_of(partial(ask_it, is_repeatable=is_repeatable))
            assert text.endswith("/ is compressed, although we take none such")
            assert error.may_have_acted is not is_repeatable
            assert error.partial_body == b""


def test_answer_that_says_it_is_not_compressed_is_taken() -> None:
    assert ask(FakeService({GET: reply(200, {}, Content_Encoding="Identity")})).json_object() == {}


def test_depth_is_limited() -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        body = b'{"status":' + opening * 2000 + b"1" + closing * 2000 + b"}"
        text = complaint(ServiceError, Response(200, "https://h:443/p", {}, body).json_object)
        assert text == "the answer of https://h:443/p is not JSON"


ENDLESS = {
    "informational answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 400,
    "a header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000,
    "headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 2000,
    "a status line": b"HTTP/1.1 200 " + b"x" * 10_000,
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024,
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 2000,
}


@pytest.mark.parametrize("what", ENDLESS)
def test_endless_answer_ends_at_a_limit(what: str) -> None:
    start = ENDLESS[what]

    def flood(connection: socket.socket) -> None:
        connection.sendall(start)
        more = start if what == "informational answers" else start[-1024:]
        while True:
            connection.sendall(more)

    for speed, serve in {"fast": flood, "slow": drip(start)}.items():
        with trying(speed), asked_server(serve) as url, HttpClient(Deadline(0.3)) as http:
            _, text = failure_of(partial(http.request, "GET", url, headers={}, is_repeatable=True))
            assert len(text) < 300


ODD_WAITS = [
    *("-1", "-1e308", "nan", "inf", "-inf", "1e308", "0x10", "1_0", "+5", "1.5", "5, 5", "٣"),
    *("Infinity", "Mon, 01 Jan 0000 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", ",,,"),
    *("Thu, 01 Jan 1970 00:00:00 +99999999999999", "1 Jan 2026 99:99:99", "a" * 50_000),
    *("9" * 50_000, "1 Jan " + "9" * 5_000 + " 00:00:00", "Mon, 1 Jan 2026 ::", "\x0b", "-"),
]


def test_retry_after_is_a_wait_or_nothing() -> None:
    for header in ODD_WAITS:
        with trying(header):
            answer = Response(429, "https://h:443/", {"retry-after": header}, b"")
            failure = status_failure(answer, is_repeatable=True)
            assert failure is not None
            seconds = failure.retry_after_seconds
            assert seconds is None or (seconds >= 0 and math.isfinite(seconds))


# ---- Types ----

FIELDS = (
    *("id", "status", "state", "message", "errors", "code", "errorMessage", "errorCode", "detail"),
    *("jobs", "data", "access_token", "expires_in", "accepting_jobs", "active_ttl", "availability"),
    *("usage", "quantum_nanoseconds", "reason_code", "reason_message", "reason_solution"),
    *sorted({name for vendor in VENDORS for name in vendor.fields}),
)


class SameAnswer(httpx.BaseTransport):
    """Answers everything with one document; a request for a token with a good one, if told so."""

    def __init__(self, status: int, document: object, *, has_token: bool) -> None:
        self._status = status
        self._document = document
        self._has_token = has_token

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._has_token and request.url.path.endswith("token"):
            return unread(token_reply())
        return unread(reply(self._status, self._document))


def calls_of(transport: httpx.BaseTransport) -> dict[str, Callable[[], object]]:
    """Return everything that a service can be asked for."""
    http = HttpClient(RecordingDeadline(), transport=transport)
    calls: dict[str, Callable[[], object]] = {}
    for vendor in VENDORS:
        client = asking(vendor.client(), http)
        calls |= {
            f"access to {vendor.type_name}": client.check_accessible,
            f"acquisition of {vendor.type_name}": client.acquire,
            f"release of {vendor.type_name}": partial(client.release, SESSION),
            f"usage of {vendor.type_name}": partial(client.usage, SESSION),
        }
    preset = settings_of(ibm_values(PREFIX, SESSION_ID=SESSION))
    system = asking(quantum_system_from(IAM), http)
    return calls | {
        "session that was brought": asking(QiskitRuntime(preset), http).acquire,
        "job": lambda: system.job("j"),
        # Only ids of ours are looked for in it.
        "list of jobs": lambda: "j" in system.job_ids(),
        "submission": lambda: system.submit({}),
        "removal": lambda: system.remove("j"),
    }


def odd_documents() -> Iterator[object]:
    for value in ODD_VALUES:
        everywhere = dict.fromkeys(FIELDS, value)
        yield from (value, everywhere)
        yield from ({name: [everywhere]} for name in ("errors", "jobs", "data"))


@pytest.mark.parametrize("status", [200, 400, 401, 404, 409])
def test_value_of_another_type_is_an_error_at_most(status: int) -> None:
    # Whatever the status is, a client without a token asks nothing more.
    for document, has_token in product(odd_documents(), (True, False)[: 1 + (status == 200)]):
        transport = SameAnswer(status, document, has_token=has_token)
        for what, call in calls_of(transport).items():
            with trying((what, has_token, document)):
                assert len(outcome_of(call)) < 1500


# ---- What reaches an environment, a URL or a log ----


def test_access_token_that_is_no_header_is_refused() -> None:
    for token in ("x" * 16385, "x" * 1_000_000, "a\r\nX: y", "a\0", "\x1b", "ü", ""):
        with trying(token):
            service = FakeService({"POST /identity/token": token_reply(token)})
            text = complaint(ServiceError, runtime(service).check_accessible)
            assert "holds no usable token" in text
            assert len(text) < 200
    longest = token_reply("x" * 16384)
    online = reply(200, {"status": "online"})
    service = FakeService({"POST /identity/token": longest, f"GET {BACKEND}": online})
    runtime(service).check_accessible()


def test_id_in_a_broken_answer_is_found_in_time_that_its_length_allows() -> None:
    """A search that looks back from each id would take minutes for this megabyte."""
    body = b'{"x":{' + b'"id":"a",' * (BODY_LIMIT_BYTES // 9 - 1)
    service = FakeService({f"POST {SESSIONS}": httpx.Response(200, content=body)})
    assert failure_of(runtime(service).acquire)[0].token is None


@pytest.mark.parametrize("status", [400, 500])
def test_session_id_is_shown_nowhere(status: int, caplog: pytest.LogCaptureFixture) -> None:
    def repeat_it(request: httpx.Request) -> httpx.Response:
        return reply(status, {"message": f"no {request.url}"})

    session = f"{SESSIONS}/{SESSION}"
    asked = ("GET /base/jobs", f"GET {session}", f"DELETE {session}/close")
    service = FakeService(dict.fromkeys(asked, repeat_it))
    of_release = complaint(ReleaseError, runtime(service).release, SESSION)
    of_acquisition = complaint(QrmiError, runtime(service, SESSION_ID=SESSION).acquire)
    assert "/sessions/****/close" in caplog.text
    for text in (caplog.text, of_release, of_acquisition):
        assert SESSION not in text


MASKED = {
    f"cannot read {SIGNED}, sorry?": "cannot read https://s3.test/b/k?**** sorry?",
    f'"{SIGNED}"': '"https://s3.test/b/k?****"',
    "https://u:p@h/ and http://x@y:z@h:1": "https://****@h/ and http://****@h:1",
    f"{SIGNED}\n{SIGNED}": "https://s3.test/b/k?****\nhttps://s3.test/b/k?****",
    "https://a/?u=https://b/?k=secret": "https://a/?****://b/?****",
    "https://h/path is not there. Why?": "https://h/path is not there. Why?",
    "what? a@b ://": "what? a@b ://",
    "https://h/p from a@b, c?d": "https://h/p from a@b, c?d",
    "": "",
}


def test_user_names_and_signatures_of_urls_are_masked() -> None:
    assert {text: without_url_secrets(text) for text in MASKED} == MASKED
    lines = {text: shown.replace("\n", "?") for text, shown in MASKED.items()}
    assert {text: Redactor().clear(text) for text in MASKED} == lines


def test_service_that_repeats_a_signed_url_is_not_quoted() -> None:
    long_user = f"https://{'u' * 300}@h"
    for message in (f"{SIGNED} {'x' * 500}", f"{'x' * 180} {SIGNED}", long_user):
        body = orjson.dumps({"errors": [{"code": SIGNED, "message": message}]})
        text = error_text(Response(400, "https://h:443/p", {}, body))
        assert "Signature" not in text
        assert "uu" not in text
        assert len(text) <= 200


# A search that looks back from each of them would take minutes for so much.
LONG_TEXT_BYTES = BODY_LIMIT_BYTES // 4
PIECES = [
    *("://", "a@", "?", "a://b@c?d=", "://?", "%", "x"),
    *("%25", "%25%2b+", "+", "\\", r"\/", r"\u0025\u0034\u0031"),
]


@pytest.mark.parametrize("piece", PIECES)
def test_text_of_any_kind_is_cleared_in_time_that_its_length_allows(piece: str) -> None:
    redactor = Redactor()
    redactor.add([API_KEY, "%25%25%25", "++++++"])
    for beginning in ("", "://"):
        text = beginning + piece * (LONG_TEXT_BYTES // len(piece))
        assert redactor.clear(text).isprintable()


def test_no_object_shows_its_secrets() -> None:
    request = HttpRequest(
        *("GET", "https://h:443", f"/{API_KEY}?key={BEARER_TOKEN}"),
        *({"Service-CRN": SERVICE_CRN}, API_KEY.encode(), (API_KEY,)),
        is_repeatable=True,
    )
    answer = Response(200, "https://h:443/p", {"x": API_KEY}, BEARER_TOKEN.encode(), (API_KEY,))
    error = ServiceError("text")
    error.token, error.partial_body = BEARER_TOKEN, API_KEY.encode()
    logins = (IamLogin("https://iam", API_KEY), AppIdLogin("https://h", "client", API_KEY))
    settings = settings_of({"A": API_KEY})
    store = StoreSettings("https://s3", "b", "r", API_KEY, BEARER_TOKEN)
    for each in (request, answer, error, *logins, settings, store):
        for secret in SECRETS:
            assert secret not in f"{each!r} {each!s}"
