# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator as a process: ready line, written config, refusals, stopping at once."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from spank_qrmi.simulator.server import bind, main, running_in_thread
from spank_qrmi.simulator.site import Site

PROJECT = Path(__file__).parents[2]
STOP_SECONDS = 10
DEVICES = "/pasqal/core-fast/api/v1/devices"


@pytest.fixture
def signal_handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    saved = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in saved.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_says_when_it_is_ready_and_stops_at_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    config = tmp_path / "qrmi_config.json"
    command = [sys.executable, "-m", "spank_qrmi.simulator", "--write-config", str(config)]
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            word, base_url = process.stdout.readline().split()
            assert word == "ready"
            assert f"{base_url}/iam" in config.read_text()
            with (
                httpx.Client(base_url=base_url, trust_env=False, timeout=10) as client,
                hanging_request(client) as hanging,
            ):
                process.send_signal(number)
                assert hanging.recv(1) == b""
            _, log = process.communicate(timeout=STOP_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0
    lines = [line for line in log.splitlines() if line != "GET /_simulator/state 200"]
    assert lines == ["POST /_simulator/faults 201", f"GET {DEVICES} -"]


@contextlib.contextmanager
def hanging_request(client: httpx.Client) -> Iterator[socket.socket]:
    """Yield the connection of a request that the server has read and will not answer."""
    client.post("/_simulator/faults", json={"kind": "hang", "path": DEVICES})
    address = (client.base_url.host, client.base_url.port or 0)
    with socket.create_connection(address, timeout=STOP_SECONDS) as connection:
        connection.sendall(f"GET {DEVICES} HTTP/1.1\r\nHost: simulator\r\n\r\n".encode())
        deadline = time.monotonic() + STOP_SECONDS
        while not client.get("/_simulator/state").json()["requests"]:
            assert time.monotonic() < deadline
        yield connection


def test_stopping_closes_a_kept_connection() -> None:
    with contextlib.ExitStack() as running:
        base_url = running.enter_context(running_in_thread(Site()))
        with httpx.Client(base_url=base_url, trust_env=False, timeout=10) as client:
            client.get(DEVICES)
            running.close()
            with pytest.raises(httpx.ConnectError):
                client.get(DEVICES)


def test_main_serves_until_a_signal(
    tmp_path: Path, signal_handlers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "qrmi_config.json"
    seen: list[int] = []
    thread = threading.Thread(target=visit_and_stop, args=(config, seen))
    thread.start()
    with pytest.raises(SystemExit) as stopped:
        main(["--write-config", str(config)])
    thread.join()
    assert (stopped.value.code, seen) == (0, [200])
    assert capsys.readouterr().out.startswith("ready http://127.0.0.1:")


def visit_and_stop(config: Path, seen: list[int]) -> None:
    """Ask the server of this process for something once it has written its file; then stop it."""
    deadline = time.monotonic() + STOP_SECONDS
    while not config.exists() and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    resources = orjson.loads(config.read_bytes())["resources"]
    base_url = resources[-1]["environment"]["QRMI_PASQAL_CLOUD_BASE_URL"].removesuffix("/pasqal")
    seen.append(httpx.get(f"{base_url}{DEVICES}", trust_env=False, timeout=10).status_code)
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "simulator.invalid"])
def test_host_that_others_can_reach_is_refused(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--host", host])
    assert refused.value.code == 2
    assert "is not a loopback address: add --allow-remote" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_port_that_is_taken_is_an_error(host: str, signal_handlers: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit, match="Address already in use"):
            main(["--host", host, "--port", port])


def test_remote_host_is_bound_if_allowed(signal_handlers: None) -> None:
    # Documentation addresses belong to no interface: binding is tried, and fails.
    with pytest.raises(SystemExit, match="Cannot assign requested address"):
        main(["--host", "192.0.2.1", "--allow-remote"])


def test_config_that_cannot_be_written_is_an_error(tmp_path: Path, signal_handlers: None) -> None:
    with pytest.raises(SystemExit, match="No such file or directory"):
        main(["--write-config", str(tmp_path / "nowhere" / "qrmi_config.json")])


def test_ipv6_address_is_bracketed_in_the_url() -> None:
    try:
        listener, base_url = bind("::1", 0)
    except OSError as error:
        pytest.skip(f"no IPv6 loopback address: {error}")
    with listener:
        assert base_url == f"http://[::1]:{listener.getsockname()[1]}"
