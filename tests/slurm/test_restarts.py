# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that are suspended or requeued, and daemons that end, at every stage of a job with a QPU."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.cluster import SlurmCluster
from loopback.installation import Installation
from loopback.job import Job
from loopback.site import Site
from loopback.waiting import wait_until
from tests.slurm.product import SESSIONS, Product, product_on

UNTIL_FINISHED = "until [ -e finished ]; do sleep 0.1; done"
NAME = "ibm_sherbrooke"
# What the first run of a requeued job does, and the second.
RUN_TWICE = (
    f'echo "run ${{SLURM_RESTART_COUNT:-0}}"; [ "$SLURM_RESTART_COUNT" ] || {UNTIL_FINISHED}'
)


@pytest.fixture(scope="module")
def requeueing_cluster(cluster_folder_of_module: Path) -> Iterator[SlurmCluster]:
    """A cluster on which a requeued job starts soon: its credential is short-lived."""
    socket = cluster_folder_of_module.resolve() / "munge.sock"
    settings = {"AuthInfo": f"socket={socket},cred_expire=5"}
    with SlurmCluster(cluster_folder_of_module, settings=settings) as cluster:
        yield cluster


@pytest.fixture
def requeueing(
    requeueing_cluster: SlurmCluster, installation: Installation, site: Site
) -> Iterator[Product]:
    """The product on that cluster."""
    with product_on(requeueing_cluster, installation, site) as product:
        yield product
    requeueing_cluster.assert_nodes_healthy()


def wait_for_script(job: Job) -> None:
    wait_until(lambda: job.stdout, 20, "start of the script")


def finish(job: Job) -> None:
    (job.folder / "finished").touch()


def keep_busy(site: Site, method: str) -> None:
    """Let the site put off whoever opens (POST) or closes (PATCH) a session."""
    site.order_fault("status", SESSIONS, method=method, status=429, retry_after=1)


def sessions_ended(product: Product) -> list[str]:
    """Wait until all is released; return how each session was closed."""
    product.wait_until_released()
    return [each["closed_how"] for each in product.site.sessions()]


def test_suspended_job_keeps_its_qpu(product: Product):
    job = product.submit(f"echo here; {UNTIL_FINISHED}", f"--qpu={NAME}")
    wait_for_script(job)
    product.cluster.run("scontrol", "suspend", str(job.id))
    job.wait_for_state("SUSPENDED")
    assert len(product.site.open_sessions()) == 1

    product.cluster.run("scontrol", "resume", str(job.id))
    finish(job)

    assert job.wait().state == "COMPLETED"
    assert product.sessions_served() == [NAME]


def test_suspended_job_that_is_cancelled(product: Product):
    job = product.submit(f"echo here; {UNTIL_FINISHED}", f"--qpu={NAME}")
    wait_for_script(job)
    product.cluster.run("scontrol", "suspend", str(job.id))

    job.cancel()

    assert job.wait().state == "CANCELLED"
    assert product.sessions_served() == [NAME]


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


def check_requeued(requeueing: Product, script: str, *options: str) -> Job:
    """Check that a job which is requeued acquires once for each of its lives."""
    job = requeueing.submit(script, f"--qpu={NAME}", "--open-mode=append", *options)
    wait_for_script(job)
    assert len(requeueing.site.open_sessions()) == 1

    requeueing.cluster.run("scontrol", "requeue", str(job.id))
    job.wait_for_state("PENDING")
    wait_until(lambda: not requeueing.site.open_sessions(), 10, "end of the first run's session")

    result = job.wait()
    assert (result.state, result.stdout) == ("COMPLETED", "run 0\nrun 1\n")
    assert requeueing.sessions_served() == [NAME] * 2
    return job


def test_requeued_job_acquires_again(requeueing: Product):
    job = check_requeued(requeueing, RUN_TWICE)
    # Each of its lives has had a session.
    requeueing.command("release", "--orphaned")
    records = requeueing.usage_records()
    assert sorted(each["restart"] for each in records) == [0, 1]
    assert {each["job_id"] for each in records} == {job.id}


def test_steps_of_a_requeued_job_acquire_again(requeueing: Product):
    check_requeued(requeueing, f"srun bash -c '{RUN_TWICE}'", "--qpu-hold=step")


def test_requeued_while_acquiring(requeueing: Product):
    keep_busy(requeueing.site, "POST")
    job = requeueing.submit(RUN_TWICE, f"--qpu={NAME}", "--open-mode=append")
    requeueing.wait_for_request(SESSIONS)

    requeueing.cluster.run("scontrol", "requeue", str(job.id))
    wait_until(lambda: not requeueing.cluster.stepd_pids(job.id), 30, "end of the first run")
    assert requeueing.journal() == []
    requeueing.site.clear_faults()

    result = job.wait()
    assert (result.state, result.stdout) == ("COMPLETED", "run 1\n")
    assert sessions_ended(requeueing) == ["drained"]


def test_job_of_a_failed_node_acquires_again(requeueing: Product):
    job = requeueing.submit(RUN_TWICE, f"--qpu={NAME}", "--open-mode=append")
    wait_for_script(job)

    requeueing.cluster.run("scontrol", "update", "NodeName=n1", "State=DOWN", "Reason=test")

    wait_until(lambda: "run 1" in job.stdout, 60, "second run")
    assert job.wait().state == "COMPLETED"
    assert requeueing.sessions_served() == [NAME] * 2


def save_state(cluster: SlurmCluster, job: Job) -> None:
    """Let slurmctld save what it knows of a job, which it would forget if it were killed now."""
    saved = cluster.folder / "state" / "job_state"
    now = time.time()
    cluster.run("scontrol", "update", f"JobId={job.id}", "Comment=save")
    wait_until(lambda: saved.stat().st_mtime > now, 20, "saved state of the jobs")


def restart(cluster: SlurmCluster, daemon: str, kill: bool) -> None:
    if daemon == "slurmd":
        cluster.restart_slurmd("n1", kill=kill)
    else:
        cluster.restart_slurmctld(kill=kill)


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize("daemon", ["slurmctld", "slurmd"])
def test_daemon_ends_and_starts_at_each_stage(product: Product, daemon: str, kill: bool):
    product.write_plugstack("--release-timeout=60")
    keep_busy(product.site, "POST")
    job = product.submit(f"echo here; {UNTIL_FINISHED}", f"--qpu={NAME}")
    product.wait_for_request(SESSIONS)
    if daemon == "slurmctld" and kill:
        save_state(product.cluster, job)
    restart(product.cluster, daemon, kill)
    product.site.clear_faults()
    wait_for_script(job)

    restart(product.cluster, daemon, kill)
    [session] = product.site.open_sessions()

    keep_busy(product.site, "PATCH")
    finish(job)
    product.wait_for_request(f"{SESSIONS}/{session}")
    restart(product.cluster, daemon, kill)
    product.site.clear_faults()

    result = job.wait()
    assert (result.state, result.stdout, result.stderr) == ("COMPLETED", "here\n", "")
    assert sessions_ended(product) == ["drained"]


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
