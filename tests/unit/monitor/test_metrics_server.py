# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics over HTTP on loopback: newest ones, and nobody keeps the server from others for long."""

import socket
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from unittest.mock import Mock

import pytest

from spank_qrmi.errors import ArgumentError, ConfigError, QrmiError
from spank_qrmi.monitor import metrics_server
from spank_qrmi.monitor.metrics_server import MetricsServer, parse_listen_address
from tests.unit.metric_samples import samples_in
from tests.unit.monitor.test_metrics import AS_OF, CATALOG, SECONDS
from tests.unit.outcomes import outcome_of, refusal_of

PATIENCE_SECONDS = 60


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    with MetricsServer(("127.0.0.1", 0)) as server:
        yield server


def get(
    port: int, path: str = "/metrics", method: str = "GET", host: str = "127.0.0.1"
) -> tuple[HTTPResponse, str]:
    with closing(HTTPConnection(host, port, timeout=PATIENCE_SECONDS)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return response, response.read().decode()


def test_newest_round_is_served_and_nothing_else(server: MetricsServer) -> None:
    assert get(server.port)[0].status == 503
    server.show(CATALOG, SECONDS)
    server.show(replace(CATALOG, as_of=AS_OF + 30), SECONDS)
    response, text = get(server.port)
    [at] = samples_in(text)["spank_qrmi_monitor_round_timestamp_seconds"].values()
    assert (response.status, at) == (200, AS_OF + 30)
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "Python" not in str(response.headers)
    requests = {("GET", "/"): 404, ("GET", "/metrics?name=x"): 200, ("POST", "/metrics"): 501}
    answered = {(how, path): get(server.port, path, how)[0].status for how, path in requests}
    assert answered == requests


def test_who_says_nothing_is_cut_and_who_goes_away_ends_nothing(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server.show(CATALOG, SECONDS)
    for sent in (b"", b"GET /metrics HTTP/1.1\r\n\r\n", b"\x00\xff" * 40000):
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as rude:
            # With what it has not read, it is reset.
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            with suppress(ConnectionError):
                rude.sendall(sent)
    assert get(server.port)[0].status == 200
    monkeypatch.setattr(metrics_server, "LONGEST_REQUEST_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as silent:
        assert get(server.port)[0].status == 200
        assert silent.recv(1) == b""
    assert capfd.readouterr() == ("", "")


def test_no_name_server_is_asked_at_either_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("getfqdn", "gethostbyaddr", "gethostbyname", "getnameinfo"):
        monkeypatch.setattr(socket, name, Mock(side_effect=AssertionError))
    for host in ("127.0.0.1", "::1"):
        with MetricsServer((host, 0)) as server:
            server.show(CATALOG, SECONDS)
            assert get(server.port, host=host)[0].status == 200


def test_what_keeps_it_from_serving_is_told_before(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = ("127.0.0.1", server.port)
    told = f"metrics cannot be served at 127.0.0.1 port {server.port}: Address already in use: "
    assert refusal_of(ConfigError, MetricsServer, address) == f"{told}name another"
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(QrmiError, match="which metrics need"):
        MetricsServer(("127.0.0.1", 0))


def test_only_an_address_of_loopback_is_taken() -> None:
    addresses = {"127.0.0.1:9321": ("127.0.0.1", 9321), "[::1]:65535": ("::1", 65535)}
    addresses["127.1.2.3:1"] = ("127.1.2.3", 1)
    read = {text: outcome_of(parse_listen_address, "--x", text) for text in addresses}
    assert read == addresses
    told = "--x must be an address of loopback and a port, such as 127.0.0.1:9321, got"
    for text in (
        *("", ":9321", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "0.0.0.0:9321"),
        *("10.0.0.1:9321", "::1:9321", "[::1:9321", "localhost:9321"),
    ):
        refusal = refusal_of(ArgumentError, parse_listen_address, "--x", text)
        assert refusal == f"{told} {text!r}", text
