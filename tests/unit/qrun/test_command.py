# SPDX-License-Identifier: GPL-3.0-or-later
"""qrun from its command line to its exit status, against the simulated service and object store."""

import os
import pty
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import orjson
import pytest

from spank_qrmi import __version__
from spank_qrmi.clients import late_submission, retry
from spank_qrmi.clients.quantum_system import QuantumSystem
from spank_qrmi.deadline import Deadline
from spank_qrmi.qrun import command, delivery, submission
from spank_qrmi.qrun import run as quantum_run
from spank_qrmi.qrun.command import main
from spank_qrmi.qrun.object_store import ObjectStore
from spank_qrmi.qrun.run import QuantumRun
from spank_qrmi_simulator import site as names
from spank_qrmi_simulator.jobs import Job
from tests.simulator_client import BELL
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

SECRETS = (names.API_KEY, names.SERVICE_CRN, names.APP_ID_SECRET, "simulator-secret", "X-Amz")
RESULT = "results_job-1.json"


@dataclass
class Qrun:
    """The command in this process; when a test ends, the site must hold `leaves` alone."""

    site: QrunSite
    folder: Path
    set_variable: Callable[[str, str], None]
    capfd: Any
    leaves: tuple[list[str], list[str]] = ([], [])

    def run(self, *arguments: str, with_iam: bool = False, **changes: str) -> int:
        """Run it with the site's variables, changed as told."""
        for name, value in self.site.environment(with_iam=with_iam, **changes).items():
            self.set_variable(name, value)
        return main([*arguments] if arguments else [self.input()])

    def wait(self, **changes: str) -> int:
        """Run it for a backend whose jobs wait until a test does something."""
        return self.run(BACKEND=WAITING_BACKEND, **changes)

    def input(self, **changes: Any) -> str:
        return input_file(self.folder, **changes)

    def errors(self) -> str:
        return self.shown()[1]

    def shown(self) -> tuple[str, str]:
        """Return what was written to stdout and stderr since the last time, without a secret."""
        out, err = self.capfd.readouterr()
        assert not [secret for secret in SECRETS if secret in out + err]
        return out, err

    @contextmanager
    def once_submitted(self, act: Callable[[Job], None]) -> Iterator[None]:
        """Do something to the job as soon as the service has it, in a thread."""

        def wait_and_act() -> None:
            wait_until(self.site.job, "the job's submission")
            act(self.site.site.direct_access_jobs["job-1"])

        thread = threading.Thread(target=wait_and_act)
        thread.start()
        try:
            yield
        finally:
            thread.join()


@pytest.fixture
def qrun(
    qrun_site: QrunSite,
    no_settings_of_this_machine: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Qrun]:
    for name in ("SRUN_DEBUG", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    # Pauses between tries, and between questions how a job is, take no time.
    monkeypatch.setattr(retry, "DELAYS_SECONDS", (0.02,) * 4)
    monkeypatch.setattr(submission, "_PAUSES_SECONDS", (0.02,) * 4)
    monkeypatch.setattr(delivery, "_PAUSES_SECONDS", (0.02,) * 2)
    monkeypatch.setattr(submission, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(quantum_run, "LATE_SUBMISSION_SECONDS", 0.1)
    monkeypatch.setattr(late_submission, "LATE_SUBMISSION_POLL_SECONDS", 0.02)
    qrun = Qrun(qrun_site, tmp_path, monkeypatch.setenv, capfd)
    yield qrun
    qrun.shown()
    assert (qrun_site.jobs(), sorted(qrun_site.objects())) == qrun.leaves


@pytest.mark.parametrize("with_iam", [False, True])
def test_result_goes_to_stdout_and_log_to_stderr(qrun: Qrun, with_iam: bool) -> None:
    assert qrun.run(with_iam=with_iam) == 0
    out, err = qrun.shown()
    assert orjson.loads(out)["results"][0]["data"]["meas"]["samples"] == ["0x1"] * 100
    assert out.startswith('{\n  "results": [\n')
    lines = err.splitlines()
    assert lines[0] == "qrun: job job-1: submitting to ibm_torino"
    assert "qrun: job job-1: Completed" in lines
    assert any("sampler" in line and not line.startswith("qrun: ") for line in lines)


def test_step_is_told_before_the_job_is_submitted_or_the_user_that_it_cannot_be(
    qrun: Qrun, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = (
        "qrun: job job-1: this step's slurmstepd cannot be told of it: if qrun is killed, look for "
        "the job at the service, cancel and delete it\n"
    )
    assert qrun.run() == 0
    assert line not in qrun.errors()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    # The id can be used again.
    assert qrun.run("-q", qrun.input()) == 0
    assert line in qrun.errors()
    # Nobody else knows an id that qrun has drawn.
    assert qrun.run(JOB_ID="") == 0
    assert "cannot be told" not in qrun.errors()
    told: list[tuple[str, int]] = []

    def mark(quantum_job_id: str) -> bool:
        told.append((quantum_job_id, qrun.site.asked("POST", JOBS)))
        return True

    monkeypatch.setattr(quantum_run, "mark_step", mark)
    assert qrun.run() == 0
    assert (told, qrun.site.asked("POST", JOBS)) == ([("job-1", 3)], 4)
    assert "cannot be told" not in qrun.errors()


def test_result_goes_to_a_file_and_quiet_shows_no_progress(qrun: Qrun, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    assert qrun.run("--quiet", "-r", str(result), qrun.input(circuit=BELL)) == 0
    samples = orjson.loads(result.read_bytes())["results"][0]["data"]["meas"]["samples"]
    assert set(samples) <= {"0x0", "0x3"}
    out, err = qrun.shown()
    assert (out, "qrun: " in err) == ("", False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input.json", "result.json"]


@contextmanager
def replaced(descriptor: int, by: int) -> Iterator[None]:
    """Let one of this process's descriptors be another for a while."""
    kept = os.dup(descriptor)
    os.dup2(by, descriptor)
    try:
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)


def test_order_says_what_the_environment_says(qrun: Qrun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRUN_DEBUG", "4")
    orders: list[dict[str, Any]] = []

    def cancel(job: Job) -> None:
        orders.append(dict(job.params))
        job.cancel(0.0)

    with qrun.once_submitted(cancel):
        qrun.wait(PRIMITIVE="estimator", TIMEOUT_SECONDS="4294967295")
    [order] = orders
    storage = order.pop("storage")
    assert order == {
        "id": "job-1",
        "backend": WAITING_BACKEND,
        "program_id": "estimator",
        "log_level": "debug",
        "timeout_secs": 604800,
    }
    for name, one in storage.items():
        assert f"/{qrun.site.store.bucket}/{name}_job-1.json?" in one["presigned_url"]
        assert "&X-Amz-Expires=604800&" in one["presigned_url"]


def test_input_comes_from_stdin_and_objects_may_be_kept(qrun: Qrun) -> None:
    path = Path(qrun.input())
    with path.open("rb") as file, replaced(0, file.fileno()):
        assert qrun.run("--keep-objects", "-") == 0
    qrun.leaves = ([], ["input_job-1.json", "logs_job-1.json", RESULT])
    assert qrun.site.object("input_job-1.json") == path.read_bytes()


def test_failed_job_says_why(qrun: Qrun, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    result.write_text("old")
    circuit = BELL.replace("sx $50", "h $50")
    assert qrun.run("-r", str(result), qrun.input(circuit=circuit)) == 7
    out, err = qrun.shown()
    assert "qrun: job job-1 failed: " in err
    assert "the instruction h on qubits" in err
    assert "(1517); Check the job's input." in err
    assert (out, result.read_text()) == ("", "old")


def test_job_that_somebody_ends_is_told_apart(qrun: Qrun) -> None:
    with qrun.once_submitted(lambda job: job.cancel(0.0)):
        assert qrun.wait() == 8
    errors = qrun.errors()
    assert "qrun: job job-1 was cancelled" in errors
    assert "qrun: the service has written no log" in errors
    with qrun.once_submitted(qrun.site.forget):
        assert qrun.wait() == 10
    assert "somebody has deleted it" in qrun.errors()
    with qrun.once_submitted(lambda job: job.complete({}, 0.0)):
        assert qrun.wait() == 9
    assert "the service has written no result" in qrun.errors()


def test_job_id_that_is_taken_is_left_alone(qrun: Qrun) -> None:
    # At the last moment, when its input has been replaced.
    qrun.site.order_fault("status", SUBMIT, method="POST", status=409)
    assert qrun.run() == 6
    assert "start each with srun" in qrun.errors()
    assert qrun.site.asked("GET", f"{JOBS}/job-1") == 1
    assert qrun.site.objects() == ["input_job-1.json"]
    qrun.site.put_object("input_job-1.json", b"other")
    qrun.site.site.direct_access_jobs["job-1"] = other = Job("job-1", 0.0, "Running")
    assert qrun.run() == 6
    assert "start each with srun" in qrun.errors()
    assert (qrun.site.job(), qrun.site.object("input_job-1.json")) == (other, b"other")
    qrun.leaves = (["job-1"], ["input_job-1.json"])


def test_service_in_trouble_is_lived_through(qrun: Qrun) -> None:
    for fault in (
        {"kind": "expired_token", "path": SUBMIT},
        {"kind": "status", "path": SUBMIT, "status": 500},
        {"kind": "status", "path": SUBMIT, "status": 503, "when": "after"},
        {"kind": "hang", "path": SUBMIT, "when": "after"},
        {"kind": "drop", "path": ONE_JOB, "method": "GET", "times": 3},
        {"kind": "status", "path": "/v1/token$", "status": 500},
        {"kind": "status", "path": ONE_JOB, "method": "DELETE", "status": 500},
    ):
        qrun.site.reset()
        qrun.site.order_fault(**fault)
        assert qrun.run("--http-timeout", "1", qrun.input()) == 0, fault
        assert not qrun.site.site.faults.documents(), fault
        qrun.site.assert_nothing_is_left()


def test_run_waits_for_a_lane_as_long_as_it_takes(
    qrun: Qrun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pause(deadline: Deadline, seconds: float) -> None:
        pauses_seconds.append(seconds)
        real_pause(deadline, min(seconds, submission.POLL_SECONDS))

    real_pause = submission.pause
    monkeypatch.setattr(submission, "pause", pause)
    reserved = {"status": 423}, "waiting: the backend is reserved", [1, 2, 4, 8, 16, 30, 30]
    busy = {"status": 429, "retry_after": "3"}, "waiting for a free lane", [3, 3, 4, 8, 16, 30, 30]
    for refusal, told, expected_seconds in (reserved, busy):
        pauses_seconds: list[float] = []
        qrun.site.reset()
        qrun.site.order_fault("status", SUBMIT, method="POST", times=7, **refusal)
        assert qrun.run() == 0
        assert pauses_seconds[:7] == expected_seconds
        lines = qrun.errors().splitlines()
        assert [line for line in lines if "waiting" in line] == [f"qrun: {told}"]
        assert qrun.site.asked("POST", JOBS) == 8


def test_service_that_refuses_for_good_is_an_error(qrun: Qrun) -> None:
    for path, status, expected, text in (
        (SUBMIT, 400, 6, "answered 400 Bad Request"),
        (SUBMIT, 500, 6, "answered 500 Internal Server Error"),
        (SUBMIT, 401, 5, "check IBMQRUN_APPID_CLIENT_ID and"),
        ("/v1/token$", 500, 6, "answered 500 Internal Server Error"),
    ):
        qrun.site.reset()
        qrun.site.order_fault("status", path, method="POST", times=None, status=status)
        assert qrun.run() == expected, (path, status)
        assert text in qrun.errors(), (path, status)
        qrun.site.assert_nothing_is_left()


def wait_for_polling(site: QrunSite) -> None:
    wait_until(lambda: site.asked("GET", f"{JOBS}/job-1") > 1, "the first polling")


def test_refusal_while_waiting_ends_the_wait_and_the_job(qrun: Qrun) -> None:
    def refuse(_job: Job) -> None:
        wait_for_polling(qrun.site)
        qrun.site.order_fault("status", ONE_JOB, method="GET", status=status)

    for status, expected in ((403, 5), (400, 10)):
        qrun.site.reset()
        with qrun.once_submitted(refuse):
            assert qrun.wait() == expected, status
        qrun.site.assert_nothing_is_left()


def test_polling_outlasts_outages(qrun: Qrun) -> None:
    def break_down(job: Job) -> None:
        wait_for_polling(qrun.site)
        for fault in ({"kind": "status", "status": 500}, {"kind": "malformed", "when": "after"}):
            qrun.site.order_fault(path=ONE_JOB, method="GET", times=13, **fault)
            wait_until(lambda: not qrun.site.site.faults.documents(), "the end of the outage")
        job.cancel(0.0)

    with qrun.once_submitted(break_down):
        assert qrun.wait() == 8
    assert qrun.errors().count("qrun: job job-1: no news: ") == 2


def test_job_that_cannot_be_removed_is_told(qrun: Qrun) -> None:
    qrun.site.order_fault("status", ONE_JOB, method="DELETE", status=403, times=None)
    assert qrun.run() == 0
    assert "qrun: job job-1 may still be on the service: " in qrun.errors()
    qrun.leaves = (["job-1"], [])


def test_wrong_variables_are_told(qrun: Qrun) -> None:
    for name, value, expected in (
        ("APPID_SECRET", "wrong-secret", 5),
        ("AWS_ACCESS_KEY_ID", "somebody", 5),
        ("S3_BUCKET", "no-such-bucket", 6),
        ("S3_REGION", "no region", 6),
        ("DAAPI_ENDPOINT", "http://127.0.0.1:9", 6),
        ("BACKEND", "", 3),
        # Nor is a secret shown that stands in the wrong place.
        ("BACKEND", names.APP_ID_SECRET, 6),
    ):
        assert qrun.run("--http-timeout", "2", qrun.input(), **{name: value}) == expected, name
        lines = qrun.errors().splitlines()
        assert all(line.startswith("qrun: ") for line in lines), lines
        qrun.site.assert_nothing_is_left()


def test_bad_files_are_found_before_anything_is_asked(qrun: Qrun) -> None:
    for arguments, expected in (
        (["nowhere.json"], 4),
        (["-r", "/nowhere/result.json", qrun.input()], 9),
    ):
        assert qrun.run(*arguments) == expected, arguments
        assert list(qrun.site.site.requests) == [], arguments


def test_misuse_is_status_2_and_help_lists_every_status(capfd: pytest.CaptureFixture[str]) -> None:
    misuse = ([], ["--http-timeout", "0", "a"], ["--http-timeout", "3601", "a"])
    for arguments, status in (*((each, 2) for each in misuse), (["-h"], 0), (["-V"], 0)):
        with trying(arguments), pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == status, arguments
    shown = capfd.readouterr().out
    for status in command.ExitStatus:
        assert f"  {status.value:<5} {status.meaning}\n" in shown
    assert f"qrun {__version__}\n" in shown


def test_result_that_cannot_be_handed_over_is_kept_in_the_bucket(qrun: Qrun) -> None:
    def complete(job: Job) -> None:
        qrun.site.put_object(RESULT, b"{")
        job.complete({}, 0.0)

    with qrun.once_submitted(complete):
        assert qrun.wait() == 9
    assert f"the result is not JSON; {RESULT} stays in the bucket" in qrun.errors()
    assert qrun.site.object(RESULT) == b"{"
    reader, writer = os.pipe()
    os.close(reader)
    with replaced(1, writer):
        assert qrun.run() == 9
    os.close(writer)
    assert f"Broken pipe; {RESULT} stays in the bucket" in qrun.errors()
    qrun.leaves = ([], [RESULT])


def test_fault_of_our_own_is_told(qrun: Qrun, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = ["input_job-1.json", "logs_job-1.json", RESULT]
    for place, jobs, left in (
        ("run.wait_for_end", [], []),
        ("delivery._pretty", [], [RESULT]),
        ("run.QuantumRun.clean_up", ["job-1"], objects),
    ):
        qrun.site.reset()
        with monkeypatch.context() as patches:
            fault = Mock(side_effect=KeyError(names.APP_ID_SECRET))
            patches.setattr(f"spank_qrmi.qrun.{place}", fault)
            assert qrun.run() == 1, place
        errors = qrun.errors()
        assert "qrun: a fault in qrun itself: KeyError at " in errors, place
        kept = f"qrun: {RESULT} stays in the bucket\nqrun: a fault in qrun itself: "
        assert (kept in errors) is (left == [RESULT]), place
        assert (qrun.site.jobs(), sorted(qrun.site.objects())) == (jobs, left), place
    qrun.site.reset()


def test_signal_before_the_upload_stops_and_one_after_the_result_does_not(
    qrun: Qrun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perform(run: QuantumRun) -> command.ExitStatus:
        runs.append(run)
        return really_perform(run)

    def be_stopped(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: runs[-1].is_stopped, "the run's stop")

    runs: list[QuantumRun] = []
    really_perform = QuantumRun.perform
    monkeypatch.setattr(QuantumRun, "perform", perform)
    with monkeypatch.context() as patches:
        patches.setattr(quantum_run, "show_log", be_stopped)
        assert qrun.run() == 0
    monkeypatch.setattr(QuantumSystem, "job", be_stopped)
    monkeypatch.setattr(ObjectStore, "upload", lambda *_: pytest.fail("uploaded"))
    assert qrun.run() == 128 + signal.SIGTERM
    assert [run.is_stopped for run in runs] == [True, True]


def test_signal_that_comes_just_before_the_wait_is_noticed() -> None:
    """Its handler runs once that wait is over, so no wait may be without an end."""
    events = Mock()
    events.get.side_effect = [queue.Empty, signal.SIGTERM]
    assert command._first_of(events) is signal.SIGTERM
    assert events.get.call_args_list == [call(timeout=command.LOOK_SECONDS)] * 2


def test_missing_extra_is_one_line(qrun_site: QrunSite, tmp_path: Path) -> None:
    # What libraries warn of is not shown: it would stand between our lines, with secrets perhaps.
    warning = "import logging; logging.getLogger(__name__).warning('a presigned URL')"
    (tmp_path / "botocore.py").write_text(f"{warning}\nraise ImportError(name=__name__)")
    environment = {**qrun_site.environment(), "PYTHONPATH": str(tmp_path)}
    with qrun_process(environment, input_file(tmp_path)) as process:
        shown = process.communicate(timeout=60)
    advice = "run the qrun of the package or of `make install`, or install what the release's list"
    line = f"qrun: botocore is not installed: {advice} of requirements names\n"
    assert (process.returncode, *shown) == (3, "", line)


def test_terminal_sees_a_live_line_and_closed_stderr_does_no_harm(
    qrun: Qrun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert qrun.run() == 0
    reader, writer = pty.openpty()
    shown = b""
    with os.fdopen(reader, "rb", buffering=0) as screen:
        with os.fdopen(writer, "w", encoding="utf-8") as terminal:
            monkeypatch.setattr(sys, "stderr", terminal)
            assert qrun.run() == 0
        # A terminal's end is an input/output error.
        with suppress(OSError):
            while chunk := screen.read(4096):
                shown += chunk
    assert b"\r\x1b[Kqrun: job job-1: submitting to ibm_torino (0:00)" in shown
    assert shown.endswith(b"\n")
