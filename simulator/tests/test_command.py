# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi simulate`: ready line, printed and written config, refusals, stopping at once."""

import contextlib
import logging
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

from spank_qrmi_simulator.addresses import base_url
from spank_qrmi_simulator.command import main
from tests.deadlines import killed_after

PROJECT = Path(__file__).parents[2]
STOP_SECONDS = 10
LONGEST_SECONDS = 60
DEVICES = "/pasqal/core-fast/api/v1/devices"


@pytest.fixture
def process_state() -> Iterator[None]:
    """Undo what the command changes of its process: signal handlers and a logger."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    saved = {number: signal.getsignal(number) for number in numbers}
    logger = logging.getLogger("spank_qrmi_simulator")
    level, propagate, handlers = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.propagate = propagate
    logger.handlers = handlers
    for number, handler in saved.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_says_when_it_is_ready_and_stops_at_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    config = tmp_path / "qrmi_config.json"
    command = [sys.executable, "-m", "spank_qrmi_simulator", "--write-config", str(config)]
    with (
        subprocess.Popen(
            command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
        killed_after(LONGEST_SECONDS, process),
    ):
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


def test_main_serves_until_a_signal(
    tmp_path: Path, process_state: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "qrmi_config.json"
    seen: list[int] = []
    thread = threading.Thread(target=visit_and_stop, args=(config, seen))
    thread.start()
    with pytest.raises(SystemExit) as stopped:
        main(["--write-config", str(config)])
    thread.join(STOP_SECONDS)
    assert (stopped.value.code, seen) == (0, [200])
    assert capsys.readouterr().out.startswith("ready http://127.0.0.1:")


def visit_and_stop(config: Path, seen: list[int]) -> None:
    """Ask the server of this process for something once it has written its file; then stop it."""
    try:
        deadline = time.monotonic() + STOP_SECONDS
        while not config.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        resources = orjson.loads(config.read_bytes())["resources"]
        [fresnel] = [each for each in resources if each["name"] == "FRESNEL"]
        pasqal = fresnel["environment"]["QRMI_PASQAL_CLOUD_BASE_URL"]
        url = f"{pasqal.removesuffix('/pasqal')}{DEVICES}"
        seen.append(httpx.get(url, trust_env=False, timeout=10).status_code)
    finally:
        # Without the signal, the test would serve for ever.
        os.kill(os.getpid(), signal.SIGTERM)


def test_help_says_what_is_served(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as helped:
        main(["--help"])
    assert helped.value.code == 0
    assert (
        "\nServe a simulated QPU site over HTTP until SIGINT or SIGTERM.\n"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "simulator.invalid"])
def test_host_that_others_can_reach_is_refused(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--host", host])
    assert refused.value.code == 2
    assert "is not a loopback address: add --allow-remote" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_port_that_is_taken_is_an_error(
    host: str, process_state: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--host", host, "--port", port]) == 1
    assert "Address already in use" in capsys.readouterr().err


def test_remote_host_is_bound_if_allowed(
    process_state: None, capsys: pytest.CaptureFixture[str]
) -> None:
    # Documentation addresses belong to no interface: binding is tried, and fails.
    assert main(["--host", "192.0.2.1", "--allow-remote"]) == 1
    complaint = "cannot listen on --host 192.0.2.1 --port 0: Cannot assign requested address\n"
    assert capsys.readouterr().err == f"spank-qrmi simulate: {complaint}"


def test_all_interfaces_are_named_by_the_machine() -> None:
    expected = f"http://{socket.gethostname()}:8000"
    assert {host: base_url(host, 8000) for host in ("0.0.0.0", "::")} == {
        "0.0.0.0": expected,
        "::": expected,
    }


def test_port_must_be_a_number_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    for port in ("-1", "65536", "9" * 5000, "http", "", "٣"):
        with pytest.raises(SystemExit) as refused:
            pytest.fail(f"{port!r} was taken: {main([f'--port={port}'])}")
        assert refused.value.code == 2, port
        assert "is no port number: 0 to 65535" in capsys.readouterr().err, port


def test_config_that_cannot_be_written_is_an_error(
    tmp_path: Path, process_state: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "nowhere" / "c.json"
    assert main(["--write-config", str(path)]) == 1
    complaint = f"cannot write --write-config {path}: No such file or directory\n"
    assert capsys.readouterr().err == f"spank-qrmi simulate: {complaint}"


def test_config_replaces_files_only(
    tmp_path: Path, process_state: None, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe):
        assert main(["--write-config", str(path)]) == 1
        assert f"{path}: it is not a file" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["pipe"]


@contextlib.contextmanager
def simulate(*options: str, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the command as a process; end it in any case."""
    command = [sys.executable, "-m", "spank_qrmi", "simulate", *options]
    with (
        subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        killed_after(LONGEST_SECONDS, process),
    ):
        yield process


def test_config_is_printed_before_the_ready_line() -> None:
    with simulate() as process:
        assert process.stdout is not None
        lines = []
        while not (lines and lines[-1].startswith("ready ")):
            lines.append(process.stdout.readline())
            assert lines[-1], "the process ended before it was ready"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=STOP_SECONDS) == ("", "")
    assert process.returncode == 0
    resources = orjson.loads("".join(lines[:-1]))["resources"]
    base_url = lines[-1].split()[1]
    direct_access = next(one for one in resources if one["type"] == "direct-access")["environment"]
    assert direct_access["QRMI_IBM_DA_ENDPOINT"].startswith(base_url)
    assert direct_access["QRMI_IBM_DA_S3_ENDPOINT"].startswith("http://127.0.0.1:")
    assert not direct_access["QRMI_IBM_DA_S3_ENDPOINT"].startswith(base_url)
    assert "simulator" in direct_access["QRMI_IBM_DA_AWS_SECRET_ACCESS_KEY"]


def test_own_bucket_is_written_to_the_config(tmp_path: Path) -> None:
    config = tmp_path / "qrmi_config.json"
    store = ("--s3-endpoint", "https://s3.invalid", "--s3-bucket", "mine", "--s3-region", "eu-de")
    keys = {"AWS_ACCESS_KEY_ID": "my-id", "AWS_SECRET_ACCESS_KEY": "my-secret"}
    with simulate("--write-config", str(config), *store, **keys) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready http://")
    resources = orjson.loads(config.read_bytes())["resources"]
    environment = next(one for one in resources if one["type"] == "direct-access")["environment"]
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "S3_ENDPOINT", "S3_BUCKET", "S3_REGION")
    values = [environment[f"QRMI_IBM_DA_{name}"] for name in names]
    assert values == ["my-id", "my-secret", "https://s3.invalid", "mine", "eu-de"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--s3-endpoint", "http://h"], "need each other"),
        (["--s3-bucket", "b"], "need each other"),
        (["--s3-endpoint", "h:9000", "--s3-bucket", "b"], "without a path"),
        (["--s3-endpoint", "http://h/s3", "--s3-bucket", "b"], "without a path"),
        (["--s3-endpoint", "http://h", "--s3-bucket", "b"], "needs --write-config"),
        (
            ["--s3-endpoint", "http://h", "--s3-bucket", "b", "--write-config", "c.json"],
            "needs AWS_ACCESS_KEY_ID",
        ),
    ],
)
def test_incomplete_bucket_is_misuse(
    options: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(SystemExit) as refused:
        main(options)
    assert refused.value.code == 2
    assert complaint in capsys.readouterr().err
