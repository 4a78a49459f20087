# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets what answers httpx's requests answer ours, so that tests can say it in httpx's terms."""

from collections.abc import Callable

import httpx

from spank_qrmi.clients.transport import (
    AnswerTimeoutError,
    BrokenConnectionError,
    ConnectError,
    ConnectTimeoutError,
    Limits,
    ProxyError,
    Request,
    Response,
    TransportError,
)

# The first that fits.
_ERRORS: list[tuple[type[Exception], type[TransportError]]] = [
    (httpx.ConnectTimeout, ConnectTimeoutError),
    (httpx.ConnectError, ConnectError),
    (httpx.ProxyError, ProxyError),
    (httpx.TimeoutException, AnswerTimeoutError),
    (httpx.NetworkError, BrokenConnectionError),
    (httpx.RemoteProtocolError, BrokenConnectionError),
]


class HttpxTransport:
    """Asks a transport of httpx; what that raises becomes an error of ours."""

    def __init__(self, service: httpx.BaseTransport) -> None:
        self._service = service

    def send(
        self, request: Request, limits: Limits, before_sending: Callable[[], None]
    ) -> Response:
        before_sending()
        asked = httpx.Request(
            request.method,
            f"{request.url.scheme}://{request.url.host_header}{request.url.target}",
            headers=request.headers,
            content=request.content,
            extensions={"limits": limits},
        )
        try:
            answered = self._service.handle_request(asked)
        except httpx.HTTPError as error:
            for of_httpx, ours in _ERRORS:
                if isinstance(error, of_httpx):
                    raise ours from error
            raise
        assert isinstance(answered.stream, httpx.SyncByteStream)
        return Response(
            answered.status_code, dict(answered.headers), iter(answered.stream), answered.close
        )

    def close(self) -> None:
        self._service.close()
