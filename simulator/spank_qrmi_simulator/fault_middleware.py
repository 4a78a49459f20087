# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out ordered faults on the way between the connection and the endpoints.

One ASGI layer does all of it, so that no endpoint knows of faults. Closing the connection is beyond
ASGI: the server puts the means for it into the scope.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spank_qrmi_simulator.answers import LARGEST_BODY_BYTES
from spank_qrmi_simulator.control import PREFIX
from spank_qrmi_simulator.faults import Fault
from spank_qrmi_simulator.recording import RECORD_KEY
from spank_qrmi_simulator.site import Site

CLOSE_CONNECTION_KEY = "spank_qrmi_simulator.close_connection"
"""Where in the ASGI scope the server puts a function that closes the connection at once."""
JSON_HEADERS = ((b"content-type", b"application/json"),)
CHUNK_BYTES = 1 << 16

ErrorBody = Callable[[str, int, str], dict[str, object]]
"""Words an error for a path, a status and a text, in the shape of the path's vendor."""


@dataclass
class Answer:
    """A complete answer that has not been sent yet."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=lambda: list(JSON_HEADERS))
    body: bytes = b""

    def with_body(self) -> "Answer":
        """Return this answer, or one of the simulator's own if this has no body to spoil."""
        return self if self.body else Answer(body=b'{"simulator": "filler"}')


class FaultMiddleware:
    """Lets the first ordered fault that means a request strike it."""

    def __init__(self, app: ASGIApp, site: Site, error_body: ErrorBody) -> None:
        self._app = app
        self._site = site
        self._error_body = error_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or let the fault decide what becomes of it."""
        fault = None
        if not scope["path"].startswith(f"{PREFIX}/"):
            fault = self._site.faults.take(scope["method"], scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
            return
        scope[RECORD_KEY].fault = fault.kind
        strike = Strike(fault, self._app, scope, receive, send)
        if await strike.read_request():
            await KINDS[fault.kind](strike, self._site, self._error_body)


class Strike:
    """One request that a fault strikes."""

    def __init__(
        self, fault: Fault, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self.fault = fault
        self.scope = scope
        self._app = app
        self._receive = receive
        self._send = send
        self._request_body = bytearray()

    async def read_request(self) -> bool:
        """Read the whole request; return False if the client left before its end."""
        # Waiting for the client to leave reads the same channel as the endpoint's body.
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return False
            # More than the endpoint would accept is not kept; it then refuses what is there.
            if len(self._request_body) <= LARGEST_BODY_BYTES:
                self._request_body += message.get("body", b"")
            if not message.get("more_body", False):
                return True

    async def act(self) -> Answer:
        """Let the service act on the request and return its answer unsent."""
        answer = Answer()

        async def receive() -> Message:
            body = bytes(self._request_body)
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = list(message["headers"])
            else:
                answer.body += message.get("body", b"")

        await self._app(self.scope, receive, send)
        return answer

    async def act_if_after(self) -> Answer:
        """Let the service act if the fault strikes after it; return its answer or a filler."""
        return await self.act() if self.fault.when == "after" else Answer()

    async def send(self, answer: Answer) -> None:
        """Send a complete answer as it stands."""
        await self.send_head(answer)
        await self.send_part(answer.body, more=False)

    async def send_head(self, answer: Answer) -> None:
        """Send status and headers."""
        start = {"type": "http.response.start", "status": answer.status}
        await self._send({**start, "headers": answer.headers})

    async def send_part(self, part: bytes, *, more: bool) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": part, "more_body": more})

    async def client_leaves_within(self, seconds: float | None) -> bool:
        """Wait so long, None for ever; return True as soon as the client is gone."""
        try:
            await asyncio.wait_for(self._receive(), seconds)
        except asyncio.TimeoutError:
            return False
        return True

    async def close_connection(self) -> None:
        """Close the TCP connection once what was sent is on its way."""
        self.scope[CLOSE_CONNECTION_KEY]()
        await self.client_leaves_within(None)


def _without_length(answer: Answer) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in answer.headers if name != b"content-length"]


def _with_length(answer: Answer) -> Answer:
    length = str(len(answer.body)).encode()
    headers = [*_without_length(answer), (b"content-length", length)]
    return Answer(answer.status, headers, answer.body)


async def _status(strike: Strike, site: Site, error_body: ErrorBody) -> None:
    await strike.act_if_after()
    fault = strike.fault
    answer = Answer(fault.status)
    if fault.status not in (204, 205):
        document = error_body(strike.scope["path"], fault.status, "a fault was ordered")
        answer.body = orjson.dumps(document)
    if fault.retry_after is not None:
        answer.headers.append((b"retry-after", fault.retry_after.encode("ascii")))
    await strike.send(_with_length(answer))


async def _delay(strike: Strike, site: Site, error_body: ErrorBody) -> None:
    answer = await strike.act() if strike.fault.when == "after" else None
    if not await strike.client_leaves_within(strike.fault.delay_seconds):
        await strike.send(answer or await strike.act())


async def _hang(strike: Strike, site: Site, error_body: ErrorBody) -> None:
    await strike.act_if_after()
    await strike.client_leaves_within(None)


async def _drop(strike: Strike, site: Site, error_body: ErrorBody) -> None:
    await strike.act_if_after()
    await strike.close_connection()


async def _malformed(strike: Strike, site: Site, error_body: ErrorBody) -> None:
    answer = (await strike.act_if_after()).with_body()
    # The last byte of a JSON object is what makes it one.
    answer.body = answer.body.rstrip()[:-1]
    await strike.send(_with_length(answer))


async def _truncated(strike: Strike, site: Site, error_body: ErrorBody) -> None:
    answer = _with_length((await strike.act_if_after()).with_body())
    await strike.send_head(answer)
    await strike.send_part(answer.body[: len(answer.body) // 2], more=True)
    await strike.close_connection()


async def _slow_drip(strike: Strike, site: Site, error_body: ErrorBody) -> None:
    answer = _with_length((await strike.act_if_after()).with_body())
    await strike.send_head(answer)
    for position in range(len(answer.body)):
        if await strike.client_leaves_within(strike.fault.delay_seconds):
            return
        await strike.send_part(answer.body[position : position + 1], more=True)
    await strike.send_part(b"", more=False)


async def _expired_token(strike: Strike, site: Site, error_body: ErrorBody) -> None:
    if strike.fault.when == "before":
        site.expire_tokens()
        answer = await strike.act()
    else:
        answer = await strike.act()
        site.expire_tokens()
    await strike.send(answer)


async def _redirect(strike: Strike, site: Site, error_body: ErrorBody) -> None:
    await strike.act_if_after()
    location = (b"location", strike.fault.location.encode("ascii"))
    await strike.send(_with_length(Answer(strike.fault.status, [location])))


async def _oversized(strike: Strike, site: Site, error_body: ErrorBody) -> None:
    answer = (await strike.act_if_after()).with_body()
    # Valid JSON after all, without a length told in advance: only counting helps against it.
    await strike.send_head(Answer(answer.status, _without_length(answer)))
    missing = strike.fault.size_bytes - len(answer.body)
    while missing > 0:
        await strike.send_part(b" " * min(missing, CHUNK_BYTES), more=True)
        missing -= CHUNK_BYTES
    await strike.send_part(answer.body, more=False)


KINDS: Mapping[str, Callable[[Strike, Site, ErrorBody], Awaitable[None]]] = {
    "status": _status,
    "delay": _delay,
    "hang": _hang,
    "drop": _drop,
    "malformed": _malformed,
    "truncated": _truncated,
    "slow_drip": _slow_drip,
    "expired_token": _expired_token,
    "redirect": _redirect,
    "oversized": _oversized,
}
