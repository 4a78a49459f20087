# SPDX-License-Identifier: GPL-3.0-or-later
"""qrun from its command line to its exit status, against the simulated service and object store."""

import os
import pty
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from spank_qrmi.clients import late_submission, retry
from spank_qrmi.clients.base import Exchange
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
from tests.unit.qrun_site import (
    JOBS,
    ONE_JOB,
    PROJECT,
    SUBMIT,
    WAITING_BACKEND,
    QrunSite,
    input_file,
    wait_until,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(botocore|moto|werkzeug).*")

Run = Callable[..., int]
SECRETS = (names.API_KEY, names.SERVICE_CRN, names.APP_ID_SECRET, "simulator-secret", "X-Amz")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries, and between questions how a job is, that take no time."""
    monkeypatch.setattr(retry, "DELAYS_SECONDS", (0.02,) * 4)
    monkeypatch.setattr(submission, "_PAUSES_SECONDS", (0.02,) * 4)
    monkeypatch.setattr(submission, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(delivery, "_PAUSES_SECONDS", (0.02,) * 2)
    monkeypatch.setattr(quantum_run, "LATE_SUBMISSION_SECONDS", 0.1)
    monkeypatch.setattr(late_submission, "LATE_SUBMISSION_POLL_SECONDS", 0.02)


@pytest.fixture
def run(
    qrun_site: QrunSite,
    no_settings_of_this_machine: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[..., int]:
    """Run the command in this process with the site's variables, changed as told."""
    monkeypatch.delenv("SRUN_DEBUG", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)

    def run(*arguments: str, with_iam: bool = False, **changes: str) -> int:
        for name, value in qrun_site.environment(with_iam=with_iam, **changes).items():
            monkeypatch.setenv(name, value)
        return main([*arguments] if arguments else [input_file(tmp_path)])

    return run


@contextmanager
def once_submitted(qrun_site: QrunSite, act: Callable[[Job], None]) -> Iterator[None]:
    """Do something to the job as soon as the service has it, in a thread."""

    def wait_and_act() -> None:
        wait_until(qrun_site.job, "the job's submission")
        job = qrun_site.job()
        assert job is not None
        act(job)

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.fixture(autouse=True)
def no_secret_is_shown(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Search what tests read, and what they leave."""
    read = capfd.readouterr

    def read_and_search() -> tuple[str, str]:
        shown = read()
        assert not [secret for secret in SECRETS if secret in "".join(shown)]
        return shown

    monkeypatch.setattr(capfd, "readouterr", read_and_search)
    yield
    read_and_search()


@pytest.mark.parametrize("with_iam", [False, True])
def test_result_goes_to_stdout_and_log_to_stderr(
    run: Run, qrun_site: QrunSite, capfd: pytest.CaptureFixture[str], with_iam: bool
) -> None:
    assert run(with_iam=with_iam) == 0
    shown = capfd.readouterr()
    assert orjson.loads(shown.out)["results"][0]["data"]["meas"]["samples"] == ["0x1"] * 100
    assert shown.out.startswith('{\n  "results": [\n')
    lines = shown.err.splitlines()
    assert lines[0] == "qrun: job job-1: submitting to ibm_torino"
    assert "qrun: job job-1: Completed" in lines
    assert any("sampler" in line and not line.startswith("qrun: ") for line in lines)
    qrun_site.assert_nothing_is_left()


def test_step_is_told_before_the_job_is_submitted(
    run: Run,
    qrun_site: QrunSite,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    told: list[str] = []

    def mark(quantum_job_id: str) -> bool:
        assert qrun_site.asked("POST", JOBS) == 0
        told.append(quantum_job_id)
        return True

    monkeypatch.setattr(quantum_run, "mark_step", mark)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert run() == 0
    assert told == ["job-1"]
    assert "cannot be told" not in capfd.readouterr().err


def test_step_that_cannot_be_told_is_said(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = (
        "qrun: job job-1: this step's slurmstepd cannot be told of it: if qrun is killed, look for "
        "the job at the service, cancel and delete it\n"
    )
    assert run() == 0
    assert line not in capfd.readouterr().err
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert run("-q", input_file(tmp_path)) == 0
    assert line in capfd.readouterr().err
    # Nobody else knows an id that qrun has drawn.
    assert run(JOB_ID="") == 0
    assert "cannot be told" not in capfd.readouterr().err


def test_job_id_can_be_used_again(run: Run, qrun_site: QrunSite) -> None:
    assert [run(), run()] == [0, 0]
    assert qrun_site.asked("POST", JOBS) == 2


def test_result_goes_to_a_file_and_quiet_shows_no_progress(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result.json"
    assert run("--quiet", "-r", str(result), input_file(tmp_path, BELL)) == 0
    assert set(orjson.loads(result.read_bytes())["results"][0]["data"]["meas"]["samples"]) <= {
        "0x0",
        "0x3",
    }
    shown = capfd.readouterr()
    assert (shown.out, "qrun: " in shown.err) == ("", False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input.json", "result.json"]


def test_input_comes_from_stdin(run: Run, tmp_path: Path) -> None:
    kept = os.dup(0)
    try:
        with Path(input_file(tmp_path)).open("rb") as file:
            os.dup2(file.fileno(), 0)
        assert run("-") == 0
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_order_says_what_the_environment_says(
    run: Run, qrun_site: QrunSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRUN_DEBUG", "4")
    orders: list[Mapping[str, Any]] = []

    def cancel(job: Job) -> None:
        orders.append(job.params)
        job.cancel(0.0)

    with once_submitted(qrun_site, cancel):
        run(BACKEND=WAITING_BACKEND, PRIMITIVE="estimator", TIMEOUT_SECONDS="4294967295")
    storage = orders[0]["storage"]
    assert {name: value for name, value in orders[0].items() if name != "storage"} == {
        "id": "job-1",
        "backend": WAITING_BACKEND,
        "program_id": "estimator",
        "log_level": "debug",
        "timeout_secs": 604800,
    }
    for name, one in storage.items():
        url = urlsplit(one["presigned_url"])
        query = parse_qs(url.query)
        assert url.path == f"/{qrun_site.store.bucket}/{name}_job-1.json"
        assert (query["X-Amz-SignedHeaders"], query["X-Amz-Expires"]) == (["host"], ["604800"])


def test_kept_objects_stay(run: Run, qrun_site: QrunSite, tmp_path: Path) -> None:
    path = input_file(tmp_path)
    assert run("--keep-objects", path) == 0
    keys = ["input_job-1.json", "logs_job-1.json", "results_job-1.json"]
    assert (qrun_site.jobs(), sorted(qrun_site.objects())) == ([], keys)
    assert qrun_site.object("input_job-1.json") == Path(path).read_bytes()


def test_failed_job_says_why(
    run: Run, qrun_site: QrunSite, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result.json"
    result.write_text("old")
    circuit = BELL.replace("sx $50", "h $50")
    assert run("-r", str(result), input_file(tmp_path, circuit)) == 7
    shown = capfd.readouterr()
    assert "qrun: job job-1 failed: " in shown.err
    assert "the instruction h on qubits" in shown.err
    assert "(1517); Check the job's input." in shown.err
    assert (shown.out, result.read_text()) == ("", "old")
    qrun_site.assert_nothing_is_left()


def test_job_that_somebody_cancels_is_told_apart(
    run: Run, qrun_site: QrunSite, capfd: pytest.CaptureFixture[str]
) -> None:
    with once_submitted(qrun_site, lambda job: job.cancel(0.0)):
        assert run(BACKEND=WAITING_BACKEND) == 8
    error = capfd.readouterr().err
    assert "qrun: job job-1 was cancelled" in error
    assert "qrun: the service has written no log" in error
    qrun_site.assert_nothing_is_left()


def test_job_that_somebody_deletes_is_lost(
    run: Run, qrun_site: QrunSite, capfd: pytest.CaptureFixture[str]
) -> None:
    with once_submitted(qrun_site, qrun_site.forget):
        assert run(BACKEND=WAITING_BACKEND) == 10
    assert "somebody has deleted it" in capfd.readouterr().err
    qrun_site.assert_nothing_is_left()


def test_job_id_that_is_taken_is_left_alone(
    run: Run, qrun_site: QrunSite, capfd: pytest.CaptureFixture[str]
) -> None:
    qrun_site.put_object("input_job-1.json", b"other")
    qrun_site.site.direct_access_jobs["job-1"] = other = Job("job-1", 0.0, "Running")
    assert run() == 6
    assert "start each with srun" in capfd.readouterr().err
    assert (qrun_site.job(), qrun_site.object("input_job-1.json")) == (other, b"other")


def test_job_id_that_is_taken_at_the_last_moment_is_left_alone(
    run: Run, qrun_site: QrunSite, capfd: pytest.CaptureFixture[str]
) -> None:
    qrun_site.order_fault("status", SUBMIT, method="POST", status=409)
    assert run() == 6
    assert "start each with srun" in capfd.readouterr().err
    assert qrun_site.asked("GET", f"{JOBS}/job-1") == 1
    assert qrun_site.objects() == ["input_job-1.json"]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "path": SUBMIT, "status": 401},
        {"kind": "expired_token", "path": SUBMIT},
        {"kind": "status", "path": SUBMIT, "status": 500},
        {"kind": "status", "path": SUBMIT, "status": 503, "when": "after"},
        {"kind": "drop", "path": SUBMIT},
        {"kind": "drop", "path": SUBMIT, "when": "after"},
        {"kind": "hang", "path": SUBMIT, "when": "after"},
        {"kind": "hang", "path": SUBMIT},
        {"kind": "drop", "path": ONE_JOB, "times": 3},
        {"kind": "malformed", "path": ONE_JOB, "when": "after", "times": 1},
        {"kind": "hang", "path": ONE_JOB, "when": "after"},
        {"kind": "expired_token", "path": ONE_JOB},
        {"kind": "status", "path": "/v1/token$", "status": 500},
        {"kind": "truncated", "path": "/v1/token$", "when": "after"},
        {"kind": "status", "path": ONE_JOB, "method": "DELETE", "status": 500},
        {"kind": "status", "path": ONE_JOB, "method": "DELETE", "status": 409},
    ],
    ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}-{fault['path'][-6:]}",
)
def test_service_in_trouble_is_lived_through(
    run: Run, qrun_site: QrunSite, tmp_path: Path, fault: dict[str, object]
) -> None:
    # The first question, whether the id is free, must not meet what is meant for the later ones.
    if fault["path"] == ONE_JOB:
        fault = {"method": "GET", **fault}
    qrun_site.order_fault(**fault)
    assert run("--http-timeout", "1", input_file(tmp_path)) == 0
    qrun_site.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("status", "retry_after", "expected_seconds"),
    [(423, None, [1, 2, 4, 8, 16, 30, 30]), (429, "3", [3, 3, 4, 8, 16, 30, 30])],
)
def test_run_waits_for_a_lane_as_long_as_it_takes(
    run: Run,
    qrun_site: QrunSite,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    *,
    status: int,
    retry_after: str | None,
    expected_seconds: list[float],
) -> None:
    pauses_seconds: list[float] = []

    def pause(deadline: Deadline, seconds: float) -> None:
        pauses_seconds.append(seconds)
        real_pause(deadline, min(seconds, submission.POLL_SECONDS))

    real_pause = submission.pause
    monkeypatch.setattr(submission, "pause", pause)
    order = {"status": status, "retry_after": retry_after, "times": len(expected_seconds)}
    qrun_site.order_fault("status", SUBMIT, method="POST", **order)
    assert run() == 0
    assert pauses_seconds[: len(expected_seconds)] == expected_seconds
    assert capfd.readouterr().err.count("qrun: waiting") == 1
    assert qrun_site.asked("POST", JOBS) == len(expected_seconds) + 1
    qrun_site.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("fault", "expected", "text"),
    [
        ({"path": SUBMIT, "status": 400}, 6, "answered 400 Bad Request"),
        ({"path": SUBMIT, "status": 500}, 6, "answered 500 Internal Server Error"),
        ({"path": SUBMIT, "status": 401}, 5, "check IBMQRUN_APPID_CLIENT_ID and"),
        ({"path": SUBMIT, "status": 403}, 5, "may not use the service"),
        ({"path": "/v1/token$", "status": 401}, 5, "refused the client id and secret"),
        ({"path": "/v1/token$", "status": 500}, 6, "answered 500 Internal Server Error"),
    ],
)
def test_service_that_refuses_for_good_is_an_error(
    run: Run,
    qrun_site: QrunSite,
    capfd: pytest.CaptureFixture[str],
    *,
    fault: dict[str, object],
    expected: int,
    text: str,
) -> None:
    qrun_site.order_fault("status", method="POST", times=None, **fault)
    assert run() == expected
    assert text in capfd.readouterr().err
    qrun_site.assert_nothing_is_left()


@pytest.mark.parametrize(("status", "expected"), [(401, 5), (403, 5), (400, 10)])
def test_refusal_while_waiting_ends_the_wait_and_the_job(
    run: Run, qrun_site: QrunSite, status: int, expected: int
) -> None:
    def refuse(_job: Job) -> None:
        wait_until(lambda: qrun_site.asked("GET", f"{JOBS}/job-1") > 1, "the first polling")
        times = 2 if status == 401 else 1
        qrun_site.order_fault("status", ONE_JOB, method="GET", status=status, times=times)

    with once_submitted(qrun_site, refuse):
        assert run(BACKEND=WAITING_BACKEND) == expected
    qrun_site.assert_nothing_is_left()


def test_polling_outlasts_an_outage(
    run: Run, qrun_site: QrunSite, capfd: pytest.CaptureFixture[str]
) -> None:
    def break_down(job: Job) -> None:
        wait_until(lambda: qrun_site.asked("GET", f"{JOBS}/job-1") > 1, "the first polling")
        qrun_site.order_fault("status", ONE_JOB, method="GET", status=500, times=13)
        wait_until(lambda: not qrun_site.site.faults.documents(), "the end of the outage")
        job.cancel(0.0)

    with once_submitted(qrun_site, break_down):
        assert run(BACKEND=WAITING_BACKEND) == 8
    assert capfd.readouterr().err.count("qrun: job job-1: no news: ") == 1
    qrun_site.assert_nothing_is_left()


def test_job_that_cannot_be_removed_is_told(
    run: Run, qrun_site: QrunSite, capfd: pytest.CaptureFixture[str]
) -> None:
    qrun_site.order_fault("status", ONE_JOB, method="DELETE", status=403, times=None)
    assert run() == 0
    assert "qrun: job job-1 may still be on the service: " in capfd.readouterr().err
    assert qrun_site.jobs() == ["job-1"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"APPID_SECRET": "wrong-secret"}, 5),
        ({"AWS_ACCESS_KEY_ID": "somebody"}, 5),
        ({"S3_BUCKET": "no-such-bucket"}, 6),
        ({"S3_BUCKET": "NO BUCKET"}, 6),
        ({"S3_ENDPOINT": "http://127.0.0.1:9"}, 6),
        ({"S3_REGION": "no region"}, 6),
        ({"DAAPI_ENDPOINT": "http://127.0.0.1:9"}, 6),
        ({"BACKEND": ""}, 3),
        ({"BACKEND": "ibm_nowhere"}, 6),
    ],
)
def test_wrong_variables_are_told_and_leave_nothing(
    run: Run,
    qrun_site: QrunSite,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    *,
    changes: dict[str, str],
    expected: int,
) -> None:
    assert run("--http-timeout", "2", input_file(tmp_path), **changes) == expected
    lines = capfd.readouterr().err.splitlines()
    assert all(line.startswith("qrun: ") for line in lines), lines
    qrun_site.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere.json"], 4),
        (["-r", "/nowhere/result.json", "INPUT"], 9),
        (["-r", "/", "INPUT"], 9),
    ],
)
def test_bad_files_are_found_before_anything_is_asked(
    run: Run, qrun_site: QrunSite, tmp_path: Path, arguments: list[str], expected: int
) -> None:
    path = input_file(tmp_path)
    assert run(*(path if word == "INPUT" else word for word in arguments)) == expected
    assert list(qrun_site.site.requests) == []
    assert qrun_site.objects() == []


def test_misuse_is_status_2() -> None:
    for arguments in (
        [],
        ["a", "b"],
        ["--what", "a"],
        ["--http-timeout", "0", "a"],
        ["--http-timeout", "1e3", "a"],
    ):
        status: object = None
        try:
            main(arguments)
        except SystemExit as misuse:
            status = misuse.code
        assert status == 2, arguments


def test_help_lists_every_status_and_version_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    for option in ("-h", "-V"):
        with pytest.raises(SystemExit) as ended:
            main([option])
        assert ended.value.code == 0
    shown = capfd.readouterr().out
    for status in command.ExitStatus:
        assert f"  {status.value:<5} {status.meaning}\n" in shown
    assert "qrun 0." in shown


def test_missing_result_is_told(
    run: Run, qrun_site: QrunSite, capfd: pytest.CaptureFixture[str]
) -> None:
    with once_submitted(qrun_site, lambda job: job.complete({}, 0.0)):
        assert run(BACKEND=WAITING_BACKEND) == 9
    assert "the service has written no result" in capfd.readouterr().err
    qrun_site.assert_nothing_is_left()


def test_result_that_is_no_json_is_kept_in_the_bucket(
    run: Run, qrun_site: QrunSite, capfd: pytest.CaptureFixture[str]
) -> None:
    for content in (b"{", b"", b"[" * 100_000, b"\xff"):
        qrun_site.reset()

        def complete(job: Job, content: bytes = content) -> None:
            qrun_site.put_object("results_job-1.json", content)
            job.complete({}, 0.0)

        what = f"{content!r:.300}"
        with once_submitted(qrun_site, complete):
            assert run(BACKEND=WAITING_BACKEND) == 9, what
        text = "the result is not JSON; results_job-1.json stays in the bucket"
        assert text in capfd.readouterr().err, what
        assert (qrun_site.jobs(), qrun_site.objects()) == ([], ["results_job-1.json"]), what
        assert qrun_site.object("results_job-1.json") == content, what


def test_large_result_is_handed_over_as_it_is(
    run: Run, qrun_site: QrunSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "LARGEST_PRETTY_BYTES", 10)
    monkeypatch.setattr(delivery, "SHOWN_LOG_BYTES", 10)
    result = tmp_path / "result.json"
    assert run("-r", str(result), input_file(tmp_path)) == 0
    assert b"\n" not in result.read_bytes()
    assert orjson.loads(result.read_bytes())["results"]
    qrun_site.assert_nothing_is_left()


def test_stdout_that_takes_nothing_keeps_the_result_in_the_bucket(
    run: Run, qrun_site: QrunSite, capfd: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    kept = os.dup(1)
    os.dup2(writer, 1)
    try:
        assert run() == 9
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(writer)
    assert "Broken pipe; results_job-1.json stays in the bucket" in capfd.readouterr().err
    assert (qrun_site.jobs(), qrun_site.objects()) == ([], ["results_job-1.json"])


@pytest.fixture
def break_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a function of qrun's own fail with a secret in its error."""

    def break_down(*_: object) -> None:
        raise KeyError(names.APP_ID_SECRET)

    return lambda place: monkeypatch.setattr(f"spank_qrmi.qrun.run.{place}", break_down)


def test_fault_of_our_own_leaves_nothing(
    run: Run,
    qrun_site: QrunSite,
    break_at: Callable[[str], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    break_at("wait_for_end")
    assert run() == 1
    assert "qrun: a fault in qrun itself: KeyError at " in capfd.readouterr().err
    qrun_site.assert_nothing_is_left()


def test_fault_in_cleaning_up_is_told(
    run: Run, break_at: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    break_at("QuantumRun.clean_up")
    assert run() == 1
    assert "qrun: a fault in qrun itself: KeyError at " in capfd.readouterr().err


def test_signal_cancels_the_job(
    run: Run, qrun_site: QrunSite, capfd: pytest.CaptureFixture[str]
) -> None:
    with once_submitted(qrun_site, lambda _job: os.kill(os.getpid(), signal.SIGTERM)):
        assert run(BACKEND=WAITING_BACKEND) == 128 + signal.SIGTERM
    assert capfd.readouterr().err.endswith("qrun: stopped by SIGTERM\n")
    qrun_site.assert_nothing_is_left()


def test_signal_that_comes_just_before_the_wait_is_noticed() -> None:
    """Its handler runs once that wait is over, so no wait may be without an end."""

    class Events:
        def __init__(self) -> None:
            self.waits: list[float | None] = []

        def get(self, *, timeout: float | None = None) -> signal.Signals:
            self.waits.append(timeout)
            if len(self.waits) == 1:
                raise queue.Empty
            return signal.SIGTERM

    events = Events()
    assert command._first_of(events) is signal.SIGTERM  # type: ignore[arg-type]
    assert None not in events.waits


def test_signal_before_the_upload_uploads_nothing(
    run: Run, qrun_site: QrunSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_of_question(system: QuantumSystem, exchange: Exchange, job_id: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(stopped.is_set, "the run's stop")

    stopped = threading.Event()
    stop = QuantumRun.stop

    def stop_and_tell(run: QuantumRun) -> None:
        stop(run)
        stopped.set()

    monkeypatch.setattr(QuantumSystem, "job", end_of_question)
    monkeypatch.setattr(QuantumRun, "stop", stop_and_tell)
    monkeypatch.setattr(ObjectStore, "upload", lambda *_: pytest.fail("uploaded"))
    assert run() == 128 + signal.SIGTERM
    qrun_site.assert_nothing_is_left()


def test_signal_after_the_result_changes_nothing(
    run: Run, qrun_site: QrunSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "spank_qrmi.qrun.run.show_log", lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    assert run() == 0
    qrun_site.assert_nothing_is_left()


def test_closed_stderr_does_no_harm(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert run() == 0


def test_missing_extra_is_one_line(qrun_site: QrunSite, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "sys.modules['botocore'] = None\n"
        "from spank_qrmi.qrun.command import main\n"
        "sys.exit(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, input_file(tmp_path)],
        cwd=PROJECT,
        env={**os.environ, **qrun_site.environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    advice = (
        "run the qrun of the package or of `make install`, or install what the release's list of"
    )
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("qrun: botocore")
    assert ended.stderr.endswith(f"is not installed: {advice} requirements names\n")


def test_terminal_sees_a_live_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = pty.openpty()
    shown = b""
    with os.fdopen(reader, "rb", buffering=0) as screen:
        with os.fdopen(writer, "w", encoding="utf-8") as terminal:
            monkeypatch.setattr(sys, "stderr", terminal)
            assert run() == 0
        # A terminal's end is an input/output error.
        with suppress(OSError):
            while chunk := screen.read(4096):
                shown += chunk
    assert b"\r\x1b[Kqrun: job job-1: submitting to ibm_torino (0:00)" in shown
    assert shown.endswith(b"\n")


def test_fault_does_not_lose_the_result(
    run: Run,
    qrun_site: QrunSite,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def no_memory(_: bytes) -> bytes:
        raise MemoryError

    monkeypatch.setattr(delivery, "_pretty", no_memory)
    assert run() == 1
    shown = capfd.readouterr().err
    assert "qrun: results_job-1.json stays in the bucket\nqrun: a fault in qrun itself: " in shown
    assert (qrun_site.jobs(), qrun_site.objects()) == ([], ["results_job-1.json"])
