# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever dies, nothing that was acquired stays acquired: exit hook, epilog, command."""

import json

import pytest

from loopback.job import Job
from loopback.processes import children_of, command_line, end_processes
from loopback.waiting import wait_until
from tests.slurm.both_ways import both_ways
from tests.slurm.product import Product

SESSIONS = "/runtime/api/v1/sessions"
START_SECONDS = 60
QPU = "--qpu=ibm_sherbrooke"
ON_N1 = "--nodelist=n1"


pytestmark = pytest.mark.usefixtures("epilog_is_known")


def start_job(product: Product) -> Job:
    """Start a job that holds a session, and wait until its script runs."""
    job = product.submit("echo here; exec sleep 600", QPU, ON_N1, "--no-requeue")
    wait_until(lambda: "here" in job.stdout, START_SECONDS, "start of the script")
    assert product.site.open_sessions() != []
    return job


def assert_released(product: Product) -> None:
    product.wait_until_released()
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    assert product.cluster.stepd_pids() == set()
    assert len(product.site.sessions()) == 1


def status(product: Product) -> list[dict[str, object]]:
    done = product.command("status", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return list(json.loads(done.stdout)["entries"])


def test_stepd_killed_during_the_job_and_slurmd_restarted(product: Product):
    job = start_job(product)
    product.kill_stepd(job)
    # Earlier, slurmctld believes that the batch step is still on its way: BatchStartTimeout and
    # MessageTimeout, 10 s each.
    wait_until(lambda: job.details()["RunTime"] > "00:00:21", 40, "job older than 21 s")

    product.cluster.restart_slurmd("n1")

    assert_released(product)


@both_ways
def test_stepd_killed_while_a_session_opens(product: Product):
    product.site.order_fault("delay", f"{SESSIONS}$", delay_seconds=2, when="after", times=1)
    job = product.submit("true", QPU, ON_N1)
    product.wait_for_request(SESSIONS)

    product.kill_stepd(job)
    job.cancel()

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


def test_service_is_down_until_the_administrator_tries_again(product: Product):
    product.write_plugstack("--release-timeout=2")
    product.site.order_fault("drop", SESSIONS + "/")
    job = product.submit("true", QPU, ON_N1)
    result = job.wait()
    assert result.state == "COMPLETED"
    assert "QPU ibm_sherbrooke: the session may still be open: " in result.stderr
    product.cluster.wait_for_empty_queue()
    assert len(product.site.open_sessions()) == 1

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
