# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for the vendors' services and for time, shared by the tests of the clients."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from spank_qrmi.clients.base import Exchange, Settings
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.response import Response
from spank_qrmi.clients.tokens import TokenSource
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import QrmiError, ServiceError
from tests.unit.munge_credentials import MUNGE_START, munge_credentials

API_KEY = "apikey-Zx81-do-not-show"
BEARER_TOKEN = "bearer-Qp44-do-not-show"
SERVICE_CRN = "crn:v1:test:do-not-show::"
PASSWORD = "password-do-not-show"
BASIC_KEY = b64encode(f"user:{PASSWORD}".encode()).decode()
SECRETS = (API_KEY, BEARER_TOKEN, SERVICE_CRN, BASIC_KEY, PASSWORD, MUNGE_START)

IAM_URL = "https://iam.test"
API_URL = "https://api.test/base"
TOKEN_PATH = "/identity/token"

Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class RecordingDeadline(Deadline):
    """A deadline whose waits take no time; `waits` holds their lengths in seconds."""

    def __init__(self, seconds: float = 1000.0) -> None:
        super().__init__(seconds)
        self.waits: list[float] = []

    def wait(self, seconds: float) -> bool:
        if seconds >= self.remaining_seconds():
            return False
        self.waits.append(seconds)
        return True


class FakeService(httpx.BaseTransport):
    """Answers each "METHOD /path" with its replies in turn, the last one again and again."""

    def __init__(self, replies: Mapping[str, Reply | list[Reply]]) -> None:
        self._replies = {
            key: list(reply) if isinstance(reply, list) else [reply]
            for key, reply in {f"POST {TOKEN_PATH}": token_reply(), **replies}.items()
        }
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        queue = self._replies[_key(request)]
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        if not isinstance(reply, (httpx.ConnectError, httpx.ConnectTimeout)):
            begin_to_send(request)
        if isinstance(reply, Exception):
            raise reply
        return unread(reply(request) if callable(reply) else reply)

    @property
    def asked(self) -> list[str]:
        """Every request as "METHOD /path", those for a token left out."""
        keys = [_key(request) for request in self.requests]
        return [key for key in keys if not key.endswith(TOKEN_PATH)]

    @property
    def token_requests(self) -> int:
        return len(self.requests) - len(self.asked)

    def http(self, deadline: Deadline | None = None) -> HttpClient:
        return HttpClient(deadline or RecordingDeadline(), transport=self)

    def exchange(self) -> Exchange:
        http = self.http()
        return Exchange(http, TokenSource(http), munge_credentials())


def unread(response: httpx.Response) -> httpx.Response:
    """Return the response as it comes from a service: a client reads its body."""
    stream = httpx.ByteStream(response.content)
    return httpx.Response(response.status_code, headers=response.headers, stream=stream)


def begin_to_send(request: httpx.Request) -> None:
    """Tell the client what httpcore tells it when the first byte is about to leave."""
    request.extensions["trace"]("http11.send_request_headers.started", {"request": request})


def _key(request: httpx.Request) -> str:
    return f"{request.method} {request.url.raw_path.partition(b'?')[0].decode()}"


def reply(status: int = 200, json: object = None, **headers: str) -> httpx.Response:
    """Return an answer with a JSON body; underscores in header names stand for hyphens."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=json, headers=names)


def nested_reply(before: str = "", after: str = "") -> httpx.Response:
    """Return an answer with as many arrays inside each other as its reader takes."""
    return httpx.Response(200, content=f"{before}{'[' * 490}{']' * 490}{after}")


def token_reply(token: object = BEARER_TOKEN, expires_in: object = 3600) -> httpx.Response:
    return reply(json={"access_token": token, "expires_in": expires_in, "token_type": "Bearer"})


def settings_of(values: Mapping[str, str], name: str = "ibm_x", **more: Any) -> Settings:
    return Settings(name, values, **more)


def ibm_values(prefix: str, **extra: str) -> dict[str, str]:
    """Return the four variables of an IBM type, changed by `extra` (an empty value unsets)."""
    values = {
        "ENDPOINT": API_URL,
        "IAM_ENDPOINT": IAM_URL,
        "IAM_APIKEY": API_KEY,
        "SERVICE_CRN": SERVICE_CRN,
        **extra,
    }
    return {f"{prefix}{key}": value for key, value in values.items()}


def text_of(error: BaseException) -> str:
    """Return the error's text; fail if it, or an error it was raised from, shows a secret."""
    text = str(error)
    assert text.isprintable(), f"not one printable line: {text!r}"
    each: BaseException | None = error
    while each is not None:
        assert_shows_no_secret(f"{each} {each!r}")
        each = each.__cause__ or each.__context__
    return text


def assert_shows_no_secret(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text


def ask(
    service: FakeService,
    deadline: Deadline | None = None,
    *,
    method: str = "GET",
    is_repeatable: bool = True,
    url: str = "https://api.test/path",
    **more: Any,
) -> Response:
    """Make one request, with credentials in its headers and its query unless told otherwise."""
    headers = {"Authorization": f"Bearer {BEARER_TOKEN}", "Service-CRN": SERVICE_CRN}
    sent = {"headers": headers, "query": {"secret": API_KEY}, **more}
    with service.http(deadline) as http:
        return http.request(method, url, is_repeatable=is_repeatable, **sent)


def failure_of(call: Callable[[], object]) -> tuple[ServiceError, str]:
    """Return the error that `call` raises, and its text."""
    with pytest.raises(ServiceError) as caught:
        call()
    return caught.value, text_of(caught.value)


def complaint(kind: type[QrmiError], call: Callable[..., object], *arguments: object) -> str:
    """Return the text of the error of this kind that a call raises; it shows no secret."""
    with pytest.raises(kind) as caught:
        call(*arguments)
    return text_of(caught.value)
