# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults at each stage of a job with a QPU of every vendor: nothing stays open, no node is drained.

Where a process or a job is ended, it makes a difference whose child the worker is: each fault is
met by one that is ready and by one that is spawned. Elsewhere a worker does the same either way,
and they take turns.
"""

import os
import re
import signal
import time

import pytest

from loopback.job import Job
from loopback.processes import children_of, end_processes
from loopback.waiting import wait_until
from tests.slurm import fault_matrix as matrix
from tests.slurm.product import SESSIONS, Product, wait_for_script
from tests.unit.vendors import HOLDERS, VENDORS

pytestmark = pytest.mark.usefixtures("epilog_is_known")

# Nothing listens on the discard port.
DEAD_URL = "http://127.0.0.1:9"
SERVICE_FAULTS: dict[str, tuple[dict[str, object], str]] = {
    matrix.DOWN: ({"kind": "drop"}, "connection refused"),
    matrix.HANGING: ({"kind": "hang"}, "no answer from"),
    # It is asked again until the time is over, which may be amidst a question.
    matrix.ERRING: ({"kind": "status", "status": 500}, "answered 500|in the time that was left"),
    matrix.SLOW: (
        {"kind": "slow_drip", "delay_seconds": 0.5},
        "did not end in time|no answer from",
    ),
    matrix.LYING: ({"kind": "malformed"}, "is not .*JSON"),
}
"""Each with the order of it, and what is told of an acquisition."""


def strike(product: Product, job: Job, fault: str) -> None:
    """Kill a process or a daemon, or end a job; without its slurmstepd a job is cancelled."""
    if fault == matrix.WORKER:
        os.kill(product.wait_for_worker(job), signal.SIGKILL)
    elif fault == matrix.BOTH:
        worker = product.wait_for_worker(job)
        product.kill_stepd(job)
        end_processes([worker])
        job.cancel()
    elif fault == matrix.TASK:
        [stepd] = product.cluster.stepd_pids(job.id)
        [task] = children_of(stepd)
        os.kill(task, signal.SIGKILL)
    elif fault == matrix.STEPD:
        product.kill_stepd(job)
        job.cancel()
    elif fault == matrix.SCANCEL:
        job.cancel()
    elif fault == matrix.SLURMD:
        product.cluster.restart_slurmd("n1", kill=True)
    else:
        # It would forget a job that it has not saved.
        saved = product.cluster.folder / "state" / "job_state"
        now = time.time()
        product.cluster.run("scontrol", "update", f"JobId={job.id}", "Comment=save")
        wait_until(lambda: saved.stat().st_mtime > now, 20, "saved state of the jobs")
        product.cluster.restart_slurmctld(kill=True)


@matrix.faults_at(matrix.ACQUIRE, matrix.STEPD, matrix.WORKER, matrix.BOTH, matrix.SCANCEL)
def test_killed_while_acquiring(product: Product, fault: str):
    """What is held already is released, by whoever is left to do so."""
    matrix.hang_all_questions(product)
    unanswered = int(fault == matrix.STEPD)
    if unanswered:
        # Only a worker that Slurm leaves alone can learn of this session, and close it.
        late = {"delay_seconds": 4, "when": "after", "times": 1}
        product.site.order_fault("delay", matrix.only(SESSIONS), **late)
    job = matrix.submit(product)
    matrix.wait_for_questions(product)
    matrix.wait_for_sessions(product, unanswered=unanswered)

    strike(product, job, fault)

    result = job.wait()
    expected = "FAILED" if fault == matrix.WORKER else "CANCELLED"
    assert (result.state, result.stdout) == (expected, "")
    matrix.assert_nothing_left(product)


@matrix.faults_at(matrix.ACQUIRE, matrix.SLURMD, matrix.SLURMCTLD)
def test_daemon_restarted_while_acquiring(product: Product, fault: str):
    for vendor in VENDORS:
        path = matrix.only(matrix.Paths.of(vendor).question)
        product.site.order_fault("status", path, status=503, retry_after=1)
    job = matrix.submit(product, 'printf %s "$SLURM_JOB_QPU_RESOURCES"')
    matrix.wait_for_questions(product)

    strike(product, job, fault)
    product.site.clear_faults()

    result = job.wait()
    names = ",".join(vendor.name for vendor in VENDORS)
    assert (result.state, result.stdout, result.stderr) == ("COMPLETED", names, "")
    matrix.assert_nothing_left(product)
    assert len(product.site.sessions()) == len(HOLDERS)


@matrix.faults_at(matrix.ACQUIRE, *SERVICE_FAULTS)
def test_service_fails_while_acquiring(product: Product, fault: str):
    order, reason = SERVICE_FAULTS[fault]
    if fault == matrix.SLOW:
        # Nothing is opened then.
        order = {**order, "when": "before"}
    config = None
    if fault == matrix.DOWN:
        dead = (product.entry(each.name, **{each.endpoint_key: DEAD_URL}) for each in VENDORS)
        config = product.write_config(*dead)
    else:
        for path in {matrix.only(matrix.Paths.of(vendor).acquisition) for vendor in VENDORS}:
            product.site.order_fault(path=path, **order)  # type: ignore[arg-type]

    product.write_plugstack("--acquire-timeout=3", config=config)

    # Of more than eight QPUs a job's output does not tell all.
    halves = [VENDORS[::2], VENDORS[1::2]]
    jobs = [matrix.submit(product, vendors=half) for half in halves]

    for job, half in zip(jobs, halves, strict=True):
        result = job.wait()
        assert (result.state, result.stdout) == ("FAILED", "")
        told = "\n".join(line for line in result.stderr.splitlines() if re.search(reason, line))
        assert [each.name for each in half if each.name not in told] == [], result.stderr
    matrix.assert_nothing_left(product)


@matrix.faults_at(
    *(matrix.JOB, matrix.STEPD, matrix.TASK, matrix.SCANCEL),
    *(matrix.SLURMD, matrix.SLURMCTLD),
)
def test_struck_during_the_job(product: Product, fault: str):
    job = matrix.submit(product, "echo here; exec sleep 600")
    wait_for_script(job)
    # What a service does not hold has an entry too: its use is recorded when it is over.
    assert len(product.journal()) == len(VENDORS)

    strike(product, job, fault)

    if fault in {matrix.SLURMD, matrix.SLURMCTLD}:
        assert len(product.site.open_sessions()) == len(HOLDERS)
        job.cancel()
    ended = (job.wait().state, job.details()["ExitCode"])
    assert ended == ("FAILED", "0:9") if fault == matrix.TASK else ended[0] == "CANCELLED"
    matrix.assert_nothing_left(product)
    ended_by = {each["ended_by"] for each in product.usage_records()}
    assert ended_by == {"epilog" if fault == matrix.STEPD else "exit"}


@matrix.faults_at(
    *(matrix.RELEASE, matrix.STEPD, matrix.WORKER, matrix.BOTH, matrix.SCANCEL),
    *(matrix.SLURMD, matrix.SLURMCTLD),
)
def test_struck_while_releasing(product: Product, fault: str):
    product.write_plugstack("--release-timeout=60")
    for vendor in HOLDERS:
        paths = matrix.Paths.of(vendor)
        what = {"method": paths.release_method, "status": 429, "retry_after": 1}
        product.site.order_fault("status", paths.release, **what)
    job = matrix.submit(product, "echo here; until [ -e finished ]; do sleep 0.1; done")
    wait_for_script(job)
    sessions = set(product.site.open_sessions())
    (job.folder / "finished").touch()
    matrix.wait_until_told_to_end(product, sessions)

    strike(product, job, fault)
    assert set(product.site.open_sessions()) == sessions
    if fault == matrix.SCANCEL:
        matrix.wait_until_over(job)
    product.site.clear_faults()

    result = job.wait()
    if fault in {matrix.SLURMD, matrix.SLURMCTLD}:
        assert (result.state, result.stdout, result.stderr) == ("COMPLETED", "here\n", "")
    assert result.state in {"CANCELLED", "COMPLETED"}
    matrix.assert_nothing_left(product)


@matrix.faults_at(matrix.RELEASE, *SERVICE_FAULTS)
def test_service_fails_while_releasing(product: Product, fault: str):
    product.write_plugstack("--release-timeout=2")
    for path in {matrix.Paths.of(vendor).release for vendor in HOLDERS}:
        product.site.order_fault(path=path, **SERVICE_FAULTS[fault][0])  # type: ignore[arg-type]

    result = matrix.submit(product).wait()

    assert (result.state, result.stdout) == ("COMPLETED", "started\n")
    told = "QPU ORION: " if fault == matrix.LYING else ": the session may still be open: "
    assert told in result.stderr
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    assert len(product.unreleased()) >= len(product.site.open_sessions())
    product.site.clear_faults()
    done = product.spank_qrmi("release", "--orphaned")
    assert (done.returncode, done.stderr) == (0, "")
    matrix.assert_nothing_left(product)
