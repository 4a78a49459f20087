# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator's server: binding, stopping at once."""

import contextlib
import logging
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from spank_qrmi_simulator.server import bind, running_in_thread
from spank_qrmi_simulator.site import Site
from tests.simulator_client import WAIT_SECONDS, headers_of

DEVICES = "/pasqal/core-fast/api/v1/devices"
JOBS = "/direct-access/v1/jobs"


def test_stopping_closes_a_kept_connection() -> None:
    with contextlib.ExitStack() as running:
        base_url = running.enter_context(running_in_thread(Site()))
        with httpx.Client(base_url=base_url, trust_env=False, timeout=10) as client:
            client.get(DEVICES)
            running.close()
            with pytest.raises(httpx.ConnectError):
                client.get(DEVICES)


def test_stopping_does_not_wait_for_a_storage_that_hangs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Site()
    with (
        ThreadPoolExecutor() as threads,
        contextlib.ExitStack() as running,
        socket.create_server(("127.0.0.1", 0)) as storage,
    ):
        storage.settimeout(WAIT_SECONDS)
        url = f"http://127.0.0.1:{storage.getsockname()[1]}/"
        stored = {"type": "s3_compatible", "presigned_url": url}
        order = {
            "id": "job",
            "backend": "ibm_paused",
            "program_id": "sampler",
            "timeout_secs": 60,
            "storage": {"input": stored, "results": stored, "logs": stored},
        }
        base_url = running.enter_context(running_in_thread(site))
        with httpx.Client(base_url=base_url, trust_env=False, timeout=WAIT_SECONDS) as session:
            session.headers.update(headers_of(site, 0))
            assert session.post(JOBS, json=order).status_code == 204
            cancelling = threads.submit(session.post, f"{JOBS}/job/cancel")
            connection, _ = storage.accept()
            with connection:
                running.close()
                assert isinstance(cancelling.exception(), httpx.TransportError)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_client_that_leaves_in_the_middle_of_its_request_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Site()
    headers = headers_of(site, 0)

    def half_a_body() -> Iterator[bytes]:
        yield b"{"
        raise ConnectionAbortedError

    with running_in_thread(site) as base_url:
        with pytest.raises(ConnectionAbortedError):
            httpx.post(
                f"{base_url}{JOBS}",
                content=half_a_body(),
                headers={**headers, "Content-Type": "application/json"},
                trust_env=False,
            )
        deadline = time.monotonic() + WAIT_SECONDS
        while not (site.requests and site.requests[0].status == 400):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_ipv6_address_is_bracketed_in_the_url() -> None:
    try:
        listener, base_url = bind("::1", 0)
    except OSError as error:
        pytest.skip(f"no IPv6 loopback address: {error}")
    with listener:
        assert base_url == f"http://[::1]:{listener.getsockname()[1]}"
