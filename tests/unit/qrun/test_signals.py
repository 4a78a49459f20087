# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals that stop qrun, at every moment of its work: it ends soon and leaves nothing."""

import fcntl
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.simulator_client import FLIP
from tests.unit.outcomes import trying
from tests.unit.qrun_site import (
    JOBS,
    ONE_JOB,
    SUBMIT,
    WAITING_BACKEND,
    QrunSite,
    input_file,
    qrun_process,
    wait_until,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(botocore|moto|werkzeug).*")

STOP_SECONDS = 60
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TOKEN = "/v1/token$"


@pytest.fixture(autouse=True)
def _no_signal_is_ignored() -> Iterator[None]:
    """Undo what nohup and a shell's background jobs pass on to all they start: qrun heeds it."""
    inherited = {number: signal.signal(number, signal.SIG_DFL) for number in STOPPING}
    yield
    for number, handler in inherited.items():
        signal.signal(number, handler)


def polled(site: QrunSite, more_than: int = 2) -> bool:
    return site.asked("GET", f"{JOBS}/job-1") > more_than


def stop(process: "subprocess.Popen[str]") -> str:
    """Send SIGTERM, which must end it soon; return what it has written to stderr since."""
    process.terminate()
    _, errors = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 128 + signal.SIGTERM
    return errors


@pytest.mark.parametrize("number", STOPPING)
def test_waiting_job_is_cancelled_and_removed(
    qrun_site: QrunSite, tmp_path: Path, number: signal.Signals
) -> None:
    environment = qrun_site.environment(BACKEND=WAITING_BACKEND)
    with qrun_process(environment, input_file(tmp_path)) as process:
        wait_until(lambda: polled(qrun_site), "polling")
        process.send_signal(signal.SIGCONT)
        asked = qrun_site.asked("GET", f"{JOBS}/job-1")
        wait_until(lambda: polled(qrun_site, asked), "polling after SIGCONT")
        process.send_signal(number)
        output, errors = process.communicate(timeout=STOP_SECONDS)
    assert (process.returncode, output) == (128 + number, "")
    assert errors.endswith(f"qrun: stopped by {number.name}\n")
    # A service that is slow to answer is asked again.
    assert qrun_site.asked("POST", f"{JOBS}/job-1/cancel") >= 1
    qrun_site.assert_nothing_is_left()


def test_what_is_under_way_is_undone(qrun_site: QrunSite, tmp_path: Path) -> None:
    for kind, path, more in (
        ("hang", TOKEN, {}),
        ("hang", ONE_JOB, {}),
        ("hang", SUBMIT, {}),
        ("hang", SUBMIT, {"when": "after"}),
        # It waits for a lane.
        ("status", SUBMIT, {"method": "POST", "status": 429, "times": None, "retry_after": "99"}),
        # It arrives when nobody waits for its answer any more.
        ("delay", SUBMIT, {"delay_seconds": 2, "method": "POST"}),
    ):
        with trying((kind, path, more)):
            qrun_site.reset()
            qrun_site.order_fault(kind, path, **more)
            environment = qrun_site.environment(BACKEND=WAITING_BACKEND)
            with qrun_process(environment, input_file(tmp_path)) as process:
                wait_until(lambda: any(one.fault for one in qrun_site.site.requests), "the fault")
                if "when" in more:
                    wait_until(qrun_site.job, "the submission")
                stop(process)
            # One that arrives later is waited for: without its sender it would not arrive here.
            comes = "when" in more or kind == "delay"
            assert (qrun_site.asked("DELETE", f"{JOBS}/job-1") > 0) is comes
            qrun_site.assert_nothing_is_left()


def test_upload_under_way_ends(qrun_site: QrunSite, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(STOP_SECONDS)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = qrun_site.environment(S3_ENDPOINT=endpoint)
        with qrun_process(environment, input_file(tmp_path)) as process:
            connection, _ = silent.accept()
            with connection:
                errors = stop(process)
    assert "may still be in the bucket: the object store does not answer in time" in errors
    assert qrun_site.asked("POST", JOBS) == 0


def test_service_that_hangs_does_not_keep_it(qrun_site: QrunSite, tmp_path: Path) -> None:
    environment = qrun_site.environment(BACKEND=WAITING_BACKEND)
    with qrun_process(environment, input_file(tmp_path)) as process:
        wait_until(lambda: polled(qrun_site), "polling")
        qrun_site.order_fault("hang", "/direct-access/", times=None)
        errors = stop(process)
    assert "qrun: job job-1 may still be on the service: no answer from " in errors
    # Told once all is cleaned up.
    assert errors.endswith("qrun: stopped by SIGTERM\n")
    assert qrun_site.objects() == []


def test_result_that_nobody_reads_is_given_up(qrun_site: QrunSite, tmp_path: Path) -> None:
    # More than a pipe holds.
    path = input_file(tmp_path, pubs=[[FLIP, None, 20_000]])
    with qrun_process(qrun_site.environment(), "-q", path) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == "{"
        process.terminate()
        assert process.wait(STOP_SECONDS) == 128 + signal.SIGTERM
    qrun_site.assert_nothing_is_left()


def test_progress_that_nobody_reads_does_not_keep_it(qrun_site: QrunSite, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    # It takes no more.
    os.write(writer, b"x" * fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ))
    environment = qrun_site.environment()
    try:
        with qrun_process(environment, input_file(tmp_path), stderr=writer) as process:
            # It has uploaded its input and wants to say that it submits.
            wait_until(qrun_site.objects, "the upload")
            stop(process)
    finally:
        os.close(reader)
        os.close(writer)
    qrun_site.assert_nothing_is_left()


def test_signals_that_are_ignored_stay_ignored(qrun_site: QrunSite, tmp_path: Path) -> None:
    ignore = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    environment = qrun_site.environment(BACKEND=WAITING_BACKEND)
    with qrun_process(environment, input_file(tmp_path), preexec_fn=ignore) as process:
        wait_until(lambda: polled(qrun_site), "polling")
        process.send_signal(signal.SIGHUP)
        stop(process)


def test_input_that_never_comes_ends(qrun_site: QrunSite) -> None:
    def catches_sigterm() -> bool:
        status = Path(f"/proc/{process.pid}/status").read_text()
        [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    with qrun_process(qrun_site.environment(), "-", stdin=subprocess.PIPE) as process:
        # Only the handler of the command itself shows that it has begun.
        wait_until(catches_sigterm, "the handler")
        process.terminate()
        assert process.wait(STOP_SECONDS) == 128 + signal.SIGTERM
    assert list(qrun_site.site.requests) == []
