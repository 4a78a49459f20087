# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever dies, nothing that was acquired stays acquired: exit hook, epilog, command."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from loopback.job import Job
from loopback.processes import children_of, command_line, end_processes
from loopback.waiting import wait_until
from spank_qrmi.deadline import Deadline
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.orphans import RETRY_SECONDS
from tests.slurm.both_ways import both_ways
from tests.slurm.product import Product, readable_lines

SESSIONS = "/runtime/api/v1/sessions"
START_SECONDS = 60
QPU = "--qpu=ibm_sherbrooke"
ON_N1 = "--nodelist=n1"


pytestmark = [both_ways, pytest.mark.usefixtures("epilog_is_known")]


def start_job(product: Product, *options: str) -> Job:
    """Start a job that holds a session, and wait until its script runs."""
    job = product.submit("echo here; exec sleep 600", *(options or (QPU, ON_N1)))
    wait_until(lambda: "here" in job.stdout, START_SECONDS, "start of the script")
    assert product.site.open_sessions() != []
    return job


def assert_released(product: Product, *, sessions: int = 1) -> None:
    product.wait_until_released()
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    assert product.cluster.stepd_pids() == set()
    assert len(product.site.sessions()) == sessions


def status(product: Product) -> list[dict[str, object]]:
    done = product.command("status", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return list(json.loads(done.stdout)["entries"])


def test_stepd_killed_during_the_job_and_the_job_cancelled(product: Product):
    job = start_job(product)
    product.kill_stepd(job)
    assert product.journal() != []

    job.cancel()

    assert_released(product)
    assert product.cluster.wait_for_log("<- slurm_spank_job_epilog rc=0")


def test_stepd_killed_during_the_job_and_slurmd_restarted(product: Product):
    job = start_job(product, QPU, ON_N1, "--no-requeue")
    product.kill_stepd(job)
    # Earlier, slurmctld believes that the batch step is still on its way: BatchStartTimeout and
    # MessageTimeout, 10 s each.
    wait_until(lambda: job.details()["RunTime"] > "00:00:21", 40, "job older than 21 s")

    product.cluster.restart_slurmd("n1")

    assert_released(product)


def test_stepd_killed_while_a_session_opens(product: Product):
    product.site.order_fault("delay", f"{SESSIONS}$", delay_seconds=2, when="after", times=1)
    job = product.submit("true", QPU, ON_N1)
    product.wait_for_request(SESSIONS)

    product.kill_stepd(job)
    job.cancel()

    assert_released(product)


def test_stepd_and_worker_killed_while_others_are_acquired(product: Product):
    product.site.order_fault("hang", "/pasqal/")
    job = product.submit("true", f"{QPU},FRESNEL", ON_N1)
    product.wait_for_recorded_session()
    worker = product.wait_for_worker(job)

    os.kill(worker, signal.SIGKILL)
    product.kill_stepd(job)
    job.cancel()

    assert_released(product)


def test_stepd_killed_while_it_releases(product: Product):
    product.site.order_fault("hang", f"{SESSIONS}/", times=1)
    job = product.submit("true", QPU, ON_N1)
    product.wait_for_request(f"{SESSIONS}/")

    product.kill_stepd(job)
    job.cancel()

    assert_released(product)


def test_stepd_and_worker_killed_while_they_release(product: Product):
    product.site.order_fault("hang", f"{SESSIONS}/", times=1)
    job = product.submit("true", QPU, ON_N1)
    product.wait_for_request(f"{SESSIONS}/")
    worker = product.wait_for_worker(job)

    product.kill_stepd(job)
    end_processes([worker])
    assert len(product.site.open_sessions()) == 1
    job.cancel()

    assert_released(product)


def test_worker_killed_while_it_releases(product: Product):
    product.site.order_fault("hang", f"{SESSIONS}/", times=1)
    job = product.submit("true", QPU, ON_N1)
    product.wait_for_request(f"{SESSIONS}/")

    os.kill(product.wait_for_worker(job), signal.SIGKILL)

    assert job.wait().state == "COMPLETED"
    assert_released(product)


def test_step_of_srun_killed_during_the_job(product: Product):
    running = product.cluster.spawn("srun", ON_N1, QPU, "sleep", "600")
    try:
        product.wait_for_recorded_session()
        [job_id] = product.cluster.queue()
        [stepd] = product.cluster.stepd_pids(int(job_id))
        wait_until(
            lambda: any("600" in command_line(pid) for pid in children_of(stepd)),
            START_SECONDS,
            "start of the task",
        )
        tasks = children_of(stepd)
        end_processes([stepd])
        end_processes(tasks)
        product.cluster.run("scancel", job_id)
    finally:
        running.kill()
        running.communicate()

    assert_released(product)


def leave_behind(product: Product) -> Job:
    """Run a job whose session cannot be closed at its end."""
    product.write_plugstack("--release-timeout=2")
    product.site.order_fault("drop", SESSIONS + "/")
    job = product.submit("true", QPU, ON_N1)
    result = job.wait()
    assert result.state == "COMPLETED"
    assert "QPU ibm_sherbrooke: the session may still be open: " in result.stderr
    product.cluster.wait_for_empty_queue()
    assert len(product.site.open_sessions()) == 1
    return job


def test_service_is_down_until_the_administrator_tries_again(product: Product):
    job = leave_behind(product)

    [entry] = status(product)
    assert (entry["job_id"], entry["state"], entry["is_orphaned"]) == (
        job.id,
        "release failed",
        True,
    )
    failed = product.command("release", "--orphaned", "--timeout=2")
    assert failed.returncode == 1
    assert failed.stdout.startswith(f"job {job.id}: ibm_sherbrooke: failed: the session may still")
    assert str(entry["reason"]).startswith("the session may still be open: ")
    assert "the connection broke" in str(entry["reason"])
    product.site.clear_faults()

    done = product.command("release", "--orphaned")

    assert (done.returncode, done.stdout) == (0, f"job {job.id}: ibm_sherbrooke: released\n")
    assert_released(product)


def test_service_is_down_until_another_job_ends(product: Product):
    first = leave_behind(product)
    product.site.clear_faults()
    let_time_pass(product)

    other = product.submit("true", "--qpu=ibm_brisbane")

    assert other.wait().stderr == ""
    assert_released(product, sessions=2)
    assert first.id != other.id


def let_time_pass(product: Product) -> None:
    """Make the only entry, and its last failure, older than the pause between two tries."""
    earlier = int(time.time()) - RETRY_SECONDS
    change_only_entry(product, lambda entry: replace(entry, failed_at=earlier, failures=1))
    [path] = product.state_directory.glob("*.json")
    os.utime(path, (earlier, earlier))


def change_only_entry(product: Product, change: Callable[[Entry], Entry]) -> None:
    journal = Journal(product.state_directory)
    [entry] = journal.entries()
    assert isinstance(entry, Entry)
    locked = journal.lock(entry, Deadline(10))
    assert locked is not None
    with locked:
        locked.write(change(locked.entry))


def test_what_runs_is_shown_and_left_alone(product: Product):
    job = start_job(product)

    [entry] = status(product)
    expected = {"job_id": job.id, "step": "batch", "uid": 0, "resource": "ibm_sherbrooke"}
    expected |= {"type": "qiskit-runtime-service", "state": "held", "is_orphaned": False}
    assert expected.items() <= entry.items()
    [_, row] = product.command("status").stdout.splitlines()
    assert row.startswith(f"{job.id} ")
    assert row.endswith(" held")
    assert product.command("release", "--orphaned").stdout == ""
    assert len(product.site.open_sessions()) == 1

    job.cancel()
    assert_released(product)
    # Whether the service did what it has agreed to is asked later.
    [entry] = status(product)
    assert (entry["job_id"], entry["state"]) == (job.id, "told to end")
    assert product.command("release", "--orphaned").stdout.endswith(": released\n")
    nothing = ("nothing is held on this node\n", [])
    assert (product.command("status").stdout, status(product)) == nothing


def test_what_runs_can_be_released_by_its_job_id(product: Product):
    job = start_job(product)

    done = product.command("release", "--job", str(job.id))

    assert (done.returncode, done.stdout) == (0, f"job {job.id}: ibm_sherbrooke: released\n")
    job.cancel()
    assert_released(product)


def test_many_releases_at_once(product: Product):
    job = start_job(product)
    product.kill_stepd(job)
    program = str(product.installation.environment / "bin" / "spank-qrmi")
    words = [program, "release", "--orphaned", f"--state-dir={product.state_directory}"]

    running = [product.cluster.spawn(*words) for _ in range(3)]
    job.cancel()
    printed = [each.communicate(timeout=60) for each in running]

    assert_released(product)
    assert [each.returncode for each in running] == [0, 0, 0]
    assert [stderr for _, stderr in printed] == [""] * 3
    asked = [line for line in product.site.asked() if line.startswith("PATCH ")]
    assert len(asked) == 1


def test_unusable_journal_fails_the_job_and_no_other(product: Product):
    product.state_directory.write_text("in the way")

    result = product.run_job("echo started", QPU, ON_N1)
    other = product.run_job("true", ON_N1)

    reason = f"cannot record the acquisition in {product.state_directory}: Not a directory"
    assert readable_lines(result.stderr)[0] == f"QPU ibm_sherbrooke: {reason}"
    assert (result.state, other.state, product.site.sessions()) == ("FAILED", "COMPLETED", [])
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    assert product.cluster.wait_for_log(
        f"cannot look for what the job holds in {product.state_directory}: Not a directory"
    )
    product.state_directory.unlink()


def test_journal_that_others_can_write_is_not_used(product: Product):
    product.state_directory.mkdir(mode=0o700)
    product.state_directory.chmod(0o777)

    result = product.run_job("echo started", QPU)

    assert f"{product.state_directory}: must be writable by its owner alone" in result.stderr
    assert (result.state, product.site.sessions()) == ("FAILED", [])
    product.state_directory.chmod(0o700)


def test_job_without_qpu_starts_no_worker(product: Product):
    mark = product.folder / "mark"
    worker = product.folder / "worker"
    worker.write_text(f"#!/bin/sh\necho started >>{mark}\n")
    worker.chmod(0o755)
    plugin = product.installation.copy_plugin(product.folder / "plugins", worker)
    product.write_plugstack(plugin=plugin)

    job = product.submit("true", ON_N1)

    assert job.wait().state == "COMPLETED"
    product.cluster.wait_for_empty_queue()
    assert not mark.exists()


def test_session_whose_answer_was_lost_is_told_and_shown_until_it_has_ended(product: Product):
    product.site.order_fault("drop", f"{SESSIONS}$", when="after", times=1)

    job = product.submit("echo started", QPU, "--time=10")
    result = job.wait()

    [reason, _] = readable_lines(result.stderr)
    assert re.fullmatch(
        rf"QPU ibm_sherbrooke: the connection broke before the answer of \S+{SESSIONS} was "
        rf"complete; a dedicated session on ibm_sherbrooke at {product.site.url}\S+ may be open "
        r"until \S+ \S+ UTC at the latest",
        reason,
    )
    [session], [entry] = product.site.sessions(), status(product)
    assert session["max_ttl"] <= 600
    assert (entry["state"], entry["reason"]) == (
        "never answered",
        reason.removeprefix("QPU ibm_sherbrooke: "),
    )
    assert product.command("release", "--orphaned").stdout == ""
    product.site.reset()
    let_session_end(product)
    done = product.command("release", "--orphaned")
    ended = f"job {job.id}: ibm_sherbrooke: has ended by itself\n"
    assert (done.returncode, done.stdout, product.journal()) == (0, ended, [])


def test_session_of_which_half_an_answer_came_is_closed(product: Product):
    product.site.order_fault("truncated", f"{SESSIONS}$", when="after", times=1)

    result = product.run_job("echo started", QPU)

    [reason, _] = readable_lines(result.stderr)
    assert reason.endswith(f"at {product.site.url}/runtime/api/v1, which was released")
    assert_released(product)


def let_session_end(product: Product) -> None:
    """Move the end of what the only entry says may be open into the past."""
    change_only_entry(product, lambda entry: replace(entry, ends_at=int(time.time())))


def test_session_that_a_service_agrees_to_end_and_does_not(product: Product):
    """The job's end does not wait for it; whoever looks later closes it."""
    product.site.order_fault("status", f"{SESSIONS}/", status=204, method="PATCH", times=None)
    job = product.run_job("true", QPU, ON_N1)
    assert (job.state, job.stderr) == ("COMPLETED", "")
    product.cluster.wait_for_empty_queue()
    assert len(product.site.open_sessions()) == 1
    wait_until(lambda: product.cluster.stepd_pids() == set(), START_SECONDS, "end of slurmstepd")

    first = product.command("release", "--orphaned")
    text = "the session was still open although it was told to end: it was closed anew"
    assert (first.returncode, first.stdout.endswith(f"failed: {text}\n")) == (1, True)
    assert [each["closed_how"] for each in product.site.sessions()] == ["cancelled"]
    second = product.command("release", "--orphaned")
    assert (second.returncode, second.stdout.endswith(": released\n")) == (0, True)
    assert status(product) == []
