# SPDX-License-Identifier: GPL-3.0-or-later
"""The connections of one client: by which way each request goes, and which are used again."""

import threading
import time
from collections.abc import Callable, Mapping

from spank_qrmi.clients.connection import Connection, connect, pieces_of, seconds_to_connect
from spank_qrmi.clients.http1 import SUCCESS
from spank_qrmi.clients.proxies import Proxies, Proxy
from spank_qrmi.clients.transport import (
    AnswerTimeoutError,
    BrokenConnectionError,
    ConnectError,
    ConnectTimeoutError,
    Limits,
    NoAnswerError,
    ProxyError,
    Request,
    Response,
    SettingsError,
)
from spank_qrmi.clients.url import Url
from spank_qrmi.light.type_hints import TYPE_CHECKING

if TYPE_CHECKING:
    from spank_qrmi.clients.tls import Trust

IDLE_SECONDS = 5.0
"""How long a connection is kept for a next request: few services hang up earlier than that."""


_Origin = tuple[str, str, int]


class Connections:
    """A transport by sockets; `variables` say by which proxies and whose certificates are trusted.

    Raises SettingsError for proxies that cannot be used.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)
        self._proxies = Proxies(self._variables)
        self._trust: Trust | None = None
        self._idle: dict[_Origin, list[tuple[float, Connection]]] = {}
        self._is_closed = False
        self._lock = threading.Lock()
        self._trust_lock = threading.Lock()

    def trust(self) -> "Trust":
        """Return the certificates that are trusted, read when this is first called.

        Raises SettingsError.
        """
        with self._trust_lock:
            if self._trust is None:
                try:
                    # Takes long, and most of it is wasted where all is asked by http.
                    from spank_qrmi.clients.tls import Trust  # noqa: PLC0415 (see above)
                except ImportError as error:
                    message = f"this Python cannot speak TLS ({type(error).__name__})"
                    raise SettingsError(message) from error
                self._trust = Trust(self._variables)
            return self._trust

    def send(
        self, request: Request, limits: Limits, before_sending: Callable[[], None]
    ) -> Response:
        """Send the request on an idle connection or a new one, see `Transport`."""
        proxy = self._proxies.proxy_for(request.url)
        used = self._taken_from_idle(request.url)
        if used is not None:
            try:
                return self._exchange(used, request, proxy, limits, before_sending)
            except NoAnswerError:
                # The service has hung up on a connection that it had not used for a while.
                if not request.is_repeatable:
                    raise
        opened = self._opened(request.url, proxy, limits)
        return self._exchange(opened, request, proxy, limits, before_sending)

    def close(self) -> None:
        """Close idle connections, and those in use when their exchange is over."""
        with self._lock:
            self._is_closed = True
            idle = [connection for each in self._idle.values() for _, connection in each]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def _exchange(
        self,
        connection: Connection,
        request: Request,
        proxy: Proxy | None,
        limits: Limits,
        before_sending: Callable[[], None],
    ) -> Response:
        url = request.url
        headers = {"Host": url.host_header, **request.headers}
        target = url.target
        if proxy is not None and not url.is_tls:
            headers |= proxy.headers
            target = f"{url.scheme}://{url.host_header}{target}"
        try:
            before_sending()
            answer = connection.ask(request.method, target, headers, request.content, limits)
        except BaseException:
            connection.close()
            raise
        return Response(
            answer.status,
            answer.headers,
            pieces_of(answer),
            lambda: self._give_back(connection, url),
        )

    def _opened(self, url: Url, proxy: Proxy | None, limits: Limits) -> Connection:
        """Return a new connection to the service, or to the proxy that is told where to ask."""
        trust = self.trust() if url.is_tls else None
        if proxy is None:
            stream = connect(url.host, url.port, limits)
        else:
            try:
                stream = connect(proxy.url.host, proxy.url.port, limits)
            except (ConnectError, ConnectTimeoutError) as error:
                reason = error.reason if isinstance(error, ConnectError) else "timed out"
                message = f"proxy {proxy.url.authority}: {reason}"
                raise ConnectError(message) from error
        try:
            if trust is not None:
                if proxy is not None:
                    _open_tunnel(Connection(stream), url, proxy, limits)
                stream.settimeout(seconds_to_connect(limits))
                stream = trust.handshake(stream, url.host)
        except BaseException:
            stream.close()
            raise
        return Connection(stream)

    def _taken_from_idle(self, url: Url) -> Connection | None:
        """Return a connection that can be used again, None if there is none."""
        while True:
            with self._lock:
                kept = self._idle.get(_origin(url))
                if not kept:
                    return None
                since, connection = kept.pop()
            if time.monotonic() - since < IDLE_SECONDS and connection.is_quiet():
                return connection
            connection.close()

    def _give_back(self, connection: Connection, url: Url) -> None:
        if connection.may_be_used_again():
            with self._lock:
                if not self._is_closed:
                    kept = self._idle.setdefault(_origin(url), [])
                    kept.append((time.monotonic(), connection))
                    return
        connection.close()


def _origin(url: Url) -> _Origin:
    return url.scheme, url.host, url.port


def _open_tunnel(connection: Connection, url: Url, proxy: Proxy, limits: Limits) -> None:
    """Have the proxy connect us to the service; raise ProxyError if it does not."""
    headers = {"Host": url.authority, **proxy.headers}
    try:
        status = connection.ask("CONNECT", url.authority, headers, None, limits).status
    except (AnswerTimeoutError, BrokenConnectionError) as error:
        raise ProxyError from error
    if status not in SUCCESS or connection.has_unread_bytes():
        raise ProxyError(status)
