# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that are suspended or requeued, at every stage; nodes that fail; steps without daemons."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.cluster import SlurmCluster
from loopback.site import Site
from loopback.waiting import wait_until
from tests.slurm.product import SESSIONS, UNTIL_FINISHED, Product, finish, wait_for_script

NAME = "ibm_sherbrooke"
# What the first run of a requeued job does, and the second.
RUN_TWICE = (
    f'echo "run ${{SLURM_RESTART_COUNT:-0}}"; [ "$SLURM_RESTART_COUNT" ] || {UNTIL_FINISHED}'
)


@pytest.fixture(scope="module")
def cluster_of_module(cluster_folder_of_module: Path) -> Iterator[SlurmCluster]:
    """A cluster on which a requeued job starts soon: its credential is short-lived."""
    socket = cluster_folder_of_module.resolve() / "munge.sock"
    settings = {"AuthInfo": f"socket={socket},cred_expire=5"}
    with SlurmCluster(cluster_folder_of_module, settings=settings) as cluster:
        yield cluster


def keep_busy(site: Site, method: str) -> None:
    """Let the site put off whoever opens (POST) or closes (PATCH) a session."""
    site.order_fault("status", SESSIONS, method=method, status=429, retry_after=1)


def sessions_ended(product: Product) -> list[str]:
    """Wait until all is released; return how each session was closed."""
    product.wait_until_released()
    return [each["closed_how"] for each in product.site.sessions()]


def test_suspended_jobs_keep_their_qpus(product: Product):
    jobs = [product.start_job(f"--qpu={NAME}", then=UNTIL_FINISHED) for _ in range(2)]
    for job in jobs:
        product.cluster.run("scontrol", "suspend", str(job.id))
        job.wait_for_state("SUSPENDED")
    assert len(product.site.open_sessions()) == 2

    resumed, cancelled = jobs
    cancelled.cancel()
    product.cluster.run("scontrol", "resume", str(resumed.id))
    finish(resumed)

    assert [job.wait().state for job in jobs] == ["COMPLETED", "CANCELLED"]
    assert product.sessions_served() == [NAME] * 2


def test_suspended_while_acquiring(product: Product):
    keep_busy(product.site, "POST")
    job = product.submit(UNTIL_FINISHED, f"--qpu={NAME}")
    product.wait_for_request(SESSIONS)
    product.cluster.run("scontrol", "suspend", str(job.id))
    product.site.clear_faults()
    wait_until(product.site.open_sessions, 20, "session of the suspended job")
    # slurmstepd suspends only what it has launched.
    product.cluster.wait_for_log("Suspended StepId", job)

    product.cluster.run("scontrol", "resume", str(job.id))
    finish(job)

    assert job.wait().state == "COMPLETED"
    assert sessions_ended(product) == ["drained"]


def test_suspended_while_releasing(product: Product):
    keep_busy(product.site, "PATCH")
    job = product.submit("echo here", f"--qpu={NAME}")
    product.wait_for_request(f"{SESSIONS}/")
    product.cluster.run("scontrol", "suspend", str(job.id))
    product.cluster.wait_for_log("Suspended StepId", job)
    product.site.clear_faults()

    assert sessions_ended(product) == ["drained"]

    # Slurm refuses it if the step has told its end already.
    product.cluster.run("scontrol", "resume", str(job.id), check=False)
    assert job.wait().state == "COMPLETED"


def test_requeued_jobs_acquire_again(product: Product):
    """As a whole, by each of their steps, and what was still acquiring: once for each life."""
    options = (f"--qpu={NAME}", "--open-mode=append")
    whole = product.submit(RUN_TWICE, *options)
    in_steps = product.submit(f"srun bash -c '{RUN_TWICE}'", *options, "--qpu-hold=step")
    for job in (whole, in_steps):
        wait_for_script(job)
    assert len(product.site.open_sessions()) == 2
    keep_busy(product.site, "POST")
    acquiring = product.submit(RUN_TWICE, *options)
    opened = f"POST {SESSIONS}"
    wait_until(lambda: product.site.asked().count(opened) > 2, 20, "third request")

    jobs = (whole, in_steps, acquiring)
    for job in jobs:
        product.cluster.run("scontrol", "requeue", str(job.id))
    for job in jobs:
        job.wait_for_state("PENDING")
    wait_until(lambda: not product.cluster.stepd_pids(), 30, "end of the first runs")
    assert product.unreleased() == []
    assert product.site.open_sessions() == []
    product.site.clear_faults()

    for job, runs in ((whole, "01"), (in_steps, "01"), (acquiring, "1")):
        result = job.wait()
        expected = "".join(f"run {number}\n" for number in runs)
        assert (result.state, result.stdout) == ("COMPLETED", expected), job.id
    assert sessions_ended(product) == ["drained"] * 5
    # Each life has had a session.
    product.spank_qrmi("release", "--orphaned")
    of_job = [each for each in product.usage_records() if each["job_id"] == whole.id]
    assert sorted(each["restart"] for each in of_job) == [0, 1]


def test_job_of_a_failed_node_acquires_again(product: Product):
    job = product.submit(RUN_TWICE, f"--qpu={NAME}", "--open-mode=append")
    wait_for_script(job)

    product.cluster.run("scontrol", "update", "NodeName=n1", "State=DOWN", "Reason=test")

    wait_until(lambda: "run 1" in job.stdout, 60, "second run")
    assert job.wait().state == "COMPLETED"
    assert product.sessions_served() == [NAME] * 2


def test_plain_srun_outlives_its_daemons(product: Product):
    script = f"cd {product.folder}; touch started; {UNTIL_FINISHED}"
    srun = product.cluster.spawn("srun", f"--qpu={NAME}", "bash", "-c", script)
    wait_until((product.folder / "started").exists, 20, "start of the step")

    product.cluster.restart_slurmctld()
    product.cluster.restart_slurmd("n1")
    (product.folder / "finished").touch()

    srun.communicate(timeout=30)
    assert srun.returncode == 0
    assert product.sessions_served() == [NAME]
