# SPDX-License-Identifier: GPL-3.0-or-later
"""The newest metrics by HTTP, for a Prometheus on this machine.

Every user of the machine can connect. So one is served at a time and for a limited time, by a
thread that the rounds do not wait for: who keeps it busy keeps metrics from others, and no more.
"""

import contextlib
import ipaddress
import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

from spank_qrmi.catalog.entries import Catalog
from spank_qrmi.errors import ArgumentError, ConfigError
from spank_qrmi.monitor.exposition import CONTENT_TYPE, check_library, text_of
from spank_qrmi.monitor.metrics import metrics_of
from spank_qrmi.numbers_in_text import parse_number
from spank_qrmi.redaction import error_place

log = logging.getLogger(__name__)

LONGEST_REQUEST_SECONDS = 5.0
"""How long one connection may take; then it is cut."""

_LARGEST_PORT = 65535
_PATH = "/metrics"

Address = tuple[str, int]
"""An address of loopback, and a port."""


def parse_listen_address(option: str, text: str) -> Address:
    """Read where to listen, such as 127.0.0.1:9321 or [::1]:9321; raise ArgumentError."""
    host, _, port_text = text.rpartition(":")
    port = parse_number(port_text, _LARGEST_PORT)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    with contextlib.suppress(ValueError):
        if port and ipaddress.ip_address(host).is_loopback:
            return host, port
    raise ArgumentError(
        f"{option} must be an address of loopback and a port, such as 127.0.0.1:9321, got {text!r}"
    )


class MetricsServer:
    """Serves the newest metrics at an address of loopback until it is closed.

    Raises ConfigError if the address cannot be had, QrmiError without prometheus_client.
    """

    def __init__(self, address: Address) -> None:
        check_library()
        host, port = address
        try:
            self._server = _server_class(host)(address, _Handler)
        except OSError as error:
            raise ConfigError(
                f"metrics cannot be served at {host} port {port}: {error.strerror}: name another"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> "MetricsServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self._server.server_address[1])

    def show(self, catalog: Catalog, seconds_by_name: Mapping[str, float]) -> None:
        """Serve the metrics of this round from now on; see `write_metrics`."""
        self._server.content = text_of(metrics_of(catalog, seconds_by_name))

    def close(self) -> None:
        """Serve no more, at the latest once the connection under way has had its time."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.TCPServer):
    """For IPv4. `content` is what it serves, nothing before the first round."""

    allow_reuse_address = True
    content = b""

    def handle_error(self, *_: object) -> None:
        """Log where, and go on: most often the client went away."""
        error = sys.exc_info()[1]
        if error is not None:
            log.debug("a request for metrics failed: %s", error_place(error))


class _ServerOfIpv6(_Server):
    address_family = socket.AF_INET6


def _server_class(host: str) -> type[_Server]:
    return _ServerOfIpv6 if ":" in host else _Server


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "spank-qrmi"
    sys_version = ""

    def handle(self) -> None:
        """Answer one request, unless that takes too long altogether."""
        timer = threading.Timer(LONGEST_REQUEST_SECONDS, self._cut)
        timer.daemon = True
        timer.start()
        try:
            super().handle()
        finally:
            timer.cancel()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        """Answer with the metrics."""
        content = self.server.content
        if self.path.partition("?")[0] != _PATH:
            self.send_error(HTTPStatus.NOT_FOUND, f"metrics are at {_PATH}")
        elif not content:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "the first round is under way")
        else:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log no request: anybody could fill the log."""
