# SPDX-License-Identifier: GPL-3.0-or-later
"""The S3 service of the site: a bucket of the user's, or moto's S3 behind a check of signatures.

It has a port of its own, because the clients join endpoint and bucket to a URL: an endpoint with a
path would lead them elsewhere. moto is imported at the first request.
"""

import logging
import select
import socket
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from spank_qrmi_simulator.addresses import base_url

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

BUCKET = "simulator-bucket"
REGION = "us-east-1"
ACCESS_KEY_ID = "simulator-access-key-id"
SECRET_ACCESS_KEY = "simulator-secret-access-key"  # noqa: S105 (a made-up one)
STOP_POLL_SECONDS = 0.1

logger = logging.getLogger("spank_qrmi_simulator")


@dataclass(frozen=True)
class ObjectStore:
    """Where objects are kept and who may keep them; the endpoint ends without a slash."""

    endpoint: str
    bucket: str = BUCKET
    region: str = REGION
    access_key_id: str = ACCESS_KEY_ID
    secret_access_key: str = field(default=SECRET_ACCESS_KEY, repr=False)

    def environment(self, prefix: str) -> dict[str, str]:
        """Return the five variables that IBM's clients read, with the prefix of their type."""
        return {
            f"{prefix}AWS_ACCESS_KEY_ID": self.access_key_id,
            f"{prefix}AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            f"{prefix}S3_ENDPOINT": self.endpoint,
            f"{prefix}S3_BUCKET": self.bucket,
            f"{prefix}S3_REGION": self.region,
        }


class LocalObjectStore:
    """An S3 server in a thread: answers on a free port from entry to exit. Raises OSError."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._resources = ExitStack()

    def __enter__(self) -> ObjectStore:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, 0), family=family)
        self._resources.enter_context(listener)
        asleep, waker = socket.socketpair()
        self._resources.enter_context(asleep)
        arguments = (listener, asleep, self._host)
        thread = threading.Thread(target=_serve, args=arguments, name="object-store", daemon=True)
        thread.start()
        self._resources.callback(thread.join)
        # Leaving undoes in reverse order: the thread sees this end close, then it is joined.
        self._resources.enter_context(waker)
        return ObjectStore(base_url(self._host, listener.getsockname()[1]))

    def __exit__(self, *_: object) -> None:
        self._resources.close()


def _serve(listener: socket.socket, asleep: socket.socket, host: str) -> None:
    ready, _, _ = select.select([listener, asleep], [], [])
    if asleep in ready:
        return
    # Closed here as well: if moto cannot be imported, clients are refused rather than left waiting.
    with listener:
        server = _server(listener, host)
        ends = threading.Thread(target=_shut_down, args=(server, asleep), daemon=True)
        ends.start()
        server.serve_forever(poll_interval=STOP_POLL_SECONDS)
        ends.join()
        server.server_close()


def _shut_down(server: "BaseWSGIServer", asleep: socket.socket) -> None:
    select.select([asleep], [], [])
    server.shutdown()


def _server(listener: socket.socket, host: str) -> "BaseWSGIServer":
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415 (slow)
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415 (slow)
    from werkzeug.test import Client  # noqa: PLC0415 (slow)

    from spank_qrmi_simulator.object_store_access import SignedOnly  # noqa: PLC0415 (slow)
    from spank_qrmi_simulator.object_store_signatures import (  # noqa: PLC0415 (slow)
        SignatureCheck,
    )

    class Handler(MotoRequestHandler):
        """Logs as the site's other endpoints do: without queries, which hold signatures."""

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            # There is no path if the first line of the request was none.
            path = quote(getattr(self, "path", "-").partition("?")[0], safe="/%")
            logger.info("S3 %s %s %s", self.command, path, code)

    moto = DomainDispatcherApplication(create_backend_app)
    Client(moto).put(f"/{BUCKET}")
    app = SignedOnly(moto, SignatureCheck(ACCESS_KEY_ID, SECRET_ACCESS_KEY, REGION))
    port = listener.getsockname()[1]
    return make_server(
        host, port, app, threaded=True, request_handler=Handler, fd=listener.fileno()
    )
