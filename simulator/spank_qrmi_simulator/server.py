# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP server: its socket, starting and stopping it, and closing connections at will.

Everything that touches uvicorn is here; what is served is `app`.
"""

import asyncio
import contextlib
import socket
import threading
from asyncio import BaseTransport, Transport
from collections.abc import Callable, Iterator
from typing import cast

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from spank_qrmi_simulator.addresses import base_url
from spank_qrmi_simulator.app import create_app
from spank_qrmi_simulator.fault_middleware import CLOSE_CONNECTION_KEY
from spank_qrmi_simulator.site import Site

STOP_GRACE_SECONDS = 2
LONGEST_START_SECONDS = 30
LONGEST_STOP_SECONDS = 30
KEEP_ALIVE_SECONDS = 60


class ClosableProtocol(H11Protocol):
    """uvicorn's HTTP protocol; the application finds in the scope how to close the connection."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Take a new connection."""
        super().connection_made(cast("Transport", transport))
        app = self.app

        async def closable_app(scope: Scope, receive: Receive, send: Send) -> None:
            scope[CLOSE_CONNECTION_KEY] = transport.close
            await app(scope, receive, send)

        self.app = closable_app


class SimulatorServer(uvicorn.Server):
    """Serves one site on a socket that is already bound; `on_ready` is called once it answers."""

    def __init__(self, site: Site, on_ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            create_app(site),
            http=ClosableProtocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_GRACE_SECONDS,
        )
        super().__init__(config)
        self._site = site
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop at once: a hanging request must not keep the process."""
        for connection in list(self.server_state.connections):
            cast("ClosableProtocol", connection).transport.abort()
        # At the same time: some requests wait for what the site does in the background.
        await asyncio.gather(super().shutdown(sockets), self._site.stop())


def bind(host: str, port: int) -> tuple[socket.socket, str]:
    """Return a listening socket and its base URL; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=128)
    # asyncio sets this only where the socket names its protocol, which create_server's do not;
    # accepted sockets inherit it, and without it kept connections wait 40 ms per answer.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener, base_url(host, listener.getsockname()[1])


@contextlib.contextmanager
def running_in_thread(site: Site) -> Iterator[str]:
    """Serve `site` on a free loopback port from a thread of this process; yields the base URL.

    Raises TimeoutError if the server does not start, or does not stop, in half a minute.
    """
    listener, url = bind("127.0.0.1", 0)
    ready = threading.Event()
    server = SimulatorServer(site, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    if not ready.wait(LONGEST_START_SECONDS):
        raise TimeoutError("the simulated site does not start")
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join(LONGEST_STOP_SECONDS)
    if thread.is_alive():
        raise TimeoutError("the simulated site does not stop")
