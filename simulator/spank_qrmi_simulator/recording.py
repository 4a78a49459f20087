# SPDX-License-Identifier: GPL-3.0-or-later
"""The outermost ASGI layer: remembers every request for the tests and logs one line for each.

Secrets stay out: of a request's headers only the names are kept, and a digest of the authorization.
"""

import hashlib
import logging
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spank_qrmi_simulator.control import PREFIX
from spank_qrmi_simulator.site import RequestRecord, Site

RECORD_KEY = "spank_qrmi_simulator.record"
"""Where in the ASGI scope the request's record is found by the layers within."""

logger = logging.getLogger("spank_qrmi_simulator")


class RecordingMiddleware:
    """Writes a RequestRecord for each request to a vendor, and a log line for each request."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note the status of its answer."""
        record = _record(scope, self._site.now())
        if not record.path.startswith(f"{PREFIX}/"):
            self._site.requests.append(record)
        scope[RECORD_KEY] = record

        async def noting_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            record.ended_at = self._site.now()
            status = "-" if record.status is None else record.status
            # A decoded path may hold line breaks and a terminal's control characters.
            logger.info("%s %s %s", record.method, quote(record.path), status)


def _record(scope: Scope, at: float) -> RequestRecord:
    headers = Headers(scope=scope)
    authorization = headers.get("authorization")
    digest = None
    if authorization is not None:
        digest = hashlib.sha256(authorization.encode("latin-1")).hexdigest()
    return RequestRecord(
        at=at,
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        headers_present=sorted(set(headers.keys())),
        user_agent=headers.get("user-agent"),
        authorization_sha256=digest,
    )
