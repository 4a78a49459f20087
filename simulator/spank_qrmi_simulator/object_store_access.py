# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets only signed requests through to the site's S3 service; a WSGI layer, as moto is WSGI."""

import io
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any
from xml.sax.saxutils import escape

from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import get_input_stream

from spank_qrmi_simulator.object_store_signatures import (
    SignatureCheck,
    StoreRefusalError,
    StoreRequest,
    signed_body_hash,
)

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class SignedOnly:
    """Refuses what moto lets pass: requests without a valid signature of the store's key."""

    def __init__(self, app: WsgiApp, signatures: SignatureCheck) -> None:
        self._app = app
        self._signatures = signatures

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Pass the request on, or refuse it as S3 words it."""
        try:
            self._signatures.check(_store_request(environ), datetime.now(timezone.utc))
        except StoreRefusalError as refusal:
            code, message = escape(refusal.code), escape(str(refusal))
            body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
            start_response(f"{refusal.status} {HTTPStatus(refusal.status).phrase}", headers)
            return [body]
        return self._app(environ, start_response)


def _body(environ: dict[str, Any]) -> bytes:
    try:
        return get_input_stream(environ).read()
    except (OSError, HTTPException) as error:
        message = "The request body terminated unexpectedly"
        raise StoreRefusalError(400, "IncompleteBody", message) from error


def _store_request(environ: dict[str, Any]) -> StoreRequest:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    body = None
    if signed_body_hash(headers) is not None:
        body = _body(environ)
        # moto reads it too.
        environ["wsgi.input"] = io.BytesIO(body)
    # The path as it was sent and signed: PATH_INFO is decoded.
    return StoreRequest(environ["REQUEST_METHOD"], environ["RAW_URI"], headers, body)
