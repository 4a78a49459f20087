# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service can do to us by its answers, and what it cannot."""

import gzip
import socket
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from itertools import product

import httpx
import orjson
import pytest

from fuzz.targets import vendor_answers
from fuzz.targets.claims import check_line
from fuzz.targets.vendor_answers import CLIENTS, check_vendor_answers
from spank_qrmi.clients.base import OneTimeCredentials
from spank_qrmi.clients.http import BODY_LIMIT_BYTES, HttpClient
from spank_qrmi.clients.ibm import AppIdLogin
from spank_qrmi.clients.request import HttpRequest
from spank_qrmi.clients.response import Response, error_text
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ObjectStoreError, ServiceError
from spank_qrmi.qrun.object_store import ObjectStore
from spank_qrmi.qrun.settings import StoreSettings
from spank_qrmi.redaction import Redactor, without_url_secrets
from tests.unit.fake_services import (
    API_KEY,
    BEARER_TOKEN,
    SECRETS,
    SERVICE_CRN,
    FakeService,
    ask,
    complaint,
    failure_of,
    reply,
)
from tests.unit.munge_credentials import MUNGE_START
from tests.unit.outcomes import trying
from tests.unit.scripted_server import HANG_UP, asked_server, drip, scripted_server
from tests.unit.vendors import QISKIT_RUNTIME, VENDORS

GET = "GET /path"
SIGNED = "https://s3.test/b/k?X-Amz-Signature=abc&X-Amz-Credential=def"


# Which host a text names, or that it is none.
LOCATIONS = {
    "https://u:p@Evil.test:99/x?y=1": "evil.test",
    "//evil.test/path": "evil.test",
    "https://evil.test\\@api.test": "api.test",
    "https://API.test./path": "api.test.",
    "ftp://[::1]:8/": "[::1]",
    **dict.fromkeys(("/other", "", "javascript:alert(1)"), "the same host"),
    # httpx reads where a redirect leads, and fails at these.
    "https://[bad": "an unreadable address",
    "https://h:x/": "an unreadable address",
    "https://\u2488.test/": "an unreadable address",
    "https://\u202eevil.test/": "an unreadable address",
}


def test_no_redirect_takes_credentials_along() -> None:
    redirects = (300, 301, 302, 303, 305, 307, 308)
    for method, status, (location, host) in product(("GET", "POST"), redirects, LOCATIONS.items()):
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


def test_compressed_answer_is_not_unpacked(http: HttpClient) -> None:
    bomb = gzip.compress(b"[" * 5_000_000)
    encodings = ("gzip", "GZIP", "br", "zstd", "deflate", "gzip, gzip", "x")
    for encoding, is_repeatable in product(encodings, (True, False)):
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(bomb)}"
        answer = f"{head}\r\n\r\n".encode() + bomb
        with trying((encoding, is_repeatable)), scripted_server(answer) as server:
            ask_it = partial(http.request, "GET", server.url, headers={})
            error, text = failure_of(partial(ask_it, is_repeatable=is_repeatable))
            assert text.endswith("/ is compressed, although we take none such")
            assert error.may_have_acted is not is_repeatable
            assert error.partial_body == b""
    taken = FakeService({GET: reply(200, {}, Content_Encoding="Identity")})
    assert ask(taken).json_object() == {}


ENDLESS = {
    "a header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000,
    "headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 2000,
    "a status line": b"HTTP/1.1 200 " + b"x" * 10_000,
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024,
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 2000,
}


@pytest.mark.parametrize("start", ENDLESS.values(), ids=ENDLESS)
def test_endless_answer_ends_at_a_limit(start: bytes) -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(start[-1024:])

    for speed, serve in {"fast": flood, "slow": drip(start)}.items():
        with trying(speed), asked_server(serve) as url, HttpClient(Deadline(0.3)) as http:
            _, text = failure_of(partial(http.request, "GET", url, headers={}, is_repeatable=True))
            assert len(text) < 300


# What stands in answers besides what the vendors' rows tell.
OTHER_FIELDS = {
    *("access_token", "expires_in", "state", "accepting_jobs", "active_ttl", "errors", "code"),
    *("errorCode", "errorMessage", "usage", "quantum_nanoseconds"),
    *("reason_code", "reason_message", "reason_solution"),
}
# One of each JSON type where it does not belong, and the largest and oddest of each.
ODD_VALUES = [
    *(None, True, False, 0, -1, 1e308, -(2**63), 2**64 - 1, "", " ", "x" * 10_000, "\n\x1b[31m"),
    *([], {}, [None], [[]], [{}], {"": None}, {"status": {}}, "NaN", "\u202e"),
]


def odd_documents() -> Iterator[object]:
    names = OTHER_FIELDS.union(*(vendor.fields for vendor in VENDORS))
    for value in ODD_VALUES:
        everywhere = dict.fromkeys(sorted(names), value)
        yield from (value, everywhere)
        yield from ({name: [everywhere]} for name in ("errors", "jobs", "data"))


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 409])
def test_value_of_another_type_is_a_short_error_at_most(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_short_line(text: str, secrets: Iterable[str] = ()) -> None:
        check_line(text, secrets)
        assert len(text) < 1500

    monkeypatch.setattr(vendor_answers, "check_line", check_short_line)
    # Whatever the status is, a client without a token asks nothing more.
    token = b'200\n\n{"access_token": "a-token", "expires_in": 3600}\0'
    beginnings = (b"", token) if status == 200 else (token,)
    for document, beginning in product(odd_documents(), beginnings):
        answer = b"%d\n\n%b" % (status, orjson.dumps(document))
        for number, who in enumerate(CLIENTS):
            with trying((who, beginning, document)):
                check_vendor_answers(bytes([number]) + beginning + answer)


def test_id_in_a_broken_answer_is_found_in_time_that_its_length_allows() -> None:
    """A search that looks back from each id would take minutes for this megabyte."""
    body = b'{"x":{' + b'"id":"a",' * (BODY_LIMIT_BYTES // 9 - 1)
    exchange = FakeService({"POST /base/sessions": httpx.Response(200, content=body)}).exchange()
    error, _ = failure_of(partial(QISKIT_RUNTIME.client().acquire, exchange))
    assert error.token is None


MASKED = {
    f"cannot read {SIGNED}, sorry?": "cannot read https://s3.test/b/k?**** sorry?",
    f'"{SIGNED}"': '"https://s3.test/b/k?****"',
    "https://u:p@h/ and http://x@y:z@h:1": "https://****@h/ and http://****@h:1",
    f"{SIGNED}\n{SIGNED}": "https://s3.test/b/k?****\nhttps://s3.test/b/k?****",
    "https://a/?u=https://b/?k=secret": "https://a/?****://b/?****",
    "what? a@b ://": "what? a@b ://",
    "https://h/p from a@b, c?d": "https://h/p from a@b, c?d",
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
    clients = [each.client() for each in VENDORS]
    logins = (AppIdLogin("https://h", "client", API_KEY), *(each.login for each in clients))
    settings = [each.settings for each in VENDORS]
    store = StoreSettings("https://s3", "b", "r", API_KEY, BEARER_TOKEN)
    credentials = OneTimeCredentials([f"{MUNGE_START}:"])
    exchange = replace(FakeService({}).exchange(), credentials=credentials)
    shown = (request, answer, error, *clients, *logins, *settings, store, credentials, exchange)
    for each in shown:
        for secret in SECRETS:
            assert secret not in f"{each!r} {each!s}"
