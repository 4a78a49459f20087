# SPDX-License-Identifier: GPL-3.0-or-later
"""The cells of the fault matrix that no other test has: nothing stays open, no node is drained.

Where a process or a job is ended, it makes a difference whose child the worker is: each cell is
run with one that is ready and with one that is spawned. Elsewhere a worker does the same either
way, and they take turns: each fault and each vendor is met by both.
"""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from loopback.cluster import SlurmCluster
from loopback.installation import Installation
from loopback.job import Job
from loopback.processes import children_of, processes_naming
from loopback.site import Site
from loopback.waiting import wait_until
from loopback.worker_server import worker_server
from tests.slurm import fault_matrix as matrix
from tests.slurm.both_ways import READY, WAYS
from tests.slurm.product import SESSIONS, Product

pytestmark = pytest.mark.usefixtures("limited_jobs", "epilog_is_known")

QPUS = {
    matrix.DIRECT_ACCESS: "ibm_torino",
    matrix.RUNTIME: "ibm_sherbrooke",
    matrix.PASQAL: "FRESNEL",
}
# What is asked to acquire, at each vendor.
PATHS = {
    matrix.DIRECT_ACCESS: "/direct-access/v1/backends/ibm_torino",
    matrix.RUNTIME: f"{SESSIONS}$",
    matrix.PASQAL: "/pasqal/",
}
ENDPOINTS = {
    matrix.DIRECT_ACCESS: "QRMI_IBM_DA_ENDPOINT",
    matrix.RUNTIME: "QRMI_IBM_QRS_ENDPOINT",
}
# Nothing listens on the discard port.
DEAD_URL = "http://127.0.0.1:9"
SERVICE_FAULTS: dict[str, tuple[dict[str, object], str]] = {
    matrix.DOWN: ({}, "connection refused"),
    matrix.HANGING: ({"kind": "hang"}, "no answer from"),
    matrix.ERRING: ({"kind": "status", "status": 500}, "answered 500"),
    matrix.SLOW: (
        {"kind": "slow_drip", "delay_seconds": 0.5, "when": "before"},
        "did not end in time|no answer from",
    ),
    matrix.LYING: ({"kind": "malformed"}, "is not .*JSON"),
}
RELEASE_FAULTS: dict[str, dict[str, object]] = {
    matrix.ERRING: {"kind": "status", "status": 500},
    matrix.SLOW: {"kind": "slow_drip", "delay_seconds": 0.5},
    matrix.LYING: {"kind": "malformed"},
}
ENDING = {matrix.STEPD, matrix.WORKER, matrix.SCANCEL}
"""What ends processes: it makes a difference there whose child the worker is."""

START_SECONDS = 60
LIMIT_SECONDS = 150
UNTIL_FINISHED = "until [ -e finished ]; do sleep 0.1; done"


def here(stage: str, *faults: str) -> pytest.MarkDecorator:
    """Parametrise by those cells of a stage and some faults that are to be run here."""
    chosen = [
        (fault, vendor)
        for (fault, at, vendor), where in matrix.cells().items()
        if where == matrix.HERE and at == stage and fault in faults
    ]
    both_ways = [
        (way, *cell)
        for number, cell in enumerate(chosen)
        for way in (WAYS if cell[0] in ENDING else [WAYS[number % len(WAYS)]])
    ]
    names = ("product", "fault", "vendor")
    ids = map("-".join, both_ways)
    return pytest.mark.parametrize(names, both_ways, indirect=["product"], ids=ids)


def submit(product: Product, vendor: str, script: str = "echo started", *options: str) -> Job:
    return product.submit(script, f"--qpu={QPUS[vendor]}", "--nodelist=n1", *options)


def wait_for_script(job: Job) -> None:
    wait_until(lambda: job.stdout, START_SECONDS, "start of the script")


def assert_nothing_left(product: Product) -> None:
    product.wait_until_released()
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    assert product.cluster.stepd_pids() == set()


@here(matrix.ACQUIRE, matrix.STEPD, matrix.WORKER, matrix.SCANCEL)
def test_killed_while_acquiring(product: Product, fault: str, vendor: str):
    product.site.order_fault("hang", PATHS[vendor])
    job = submit(product, vendor)
    product.wait_for_request(PATHS[vendor])

    if fault == matrix.WORKER:
        os.kill(product.wait_for_worker(job), signal.SIGKILL)
    elif fault == matrix.STEPD:
        product.kill_stepd(job)
    if fault != matrix.WORKER:
        job.cancel()

    result = job.wait()
    expected = "FAILED" if fault == matrix.WORKER else "CANCELLED"
    assert (result.state, result.stdout) == (expected, "")
    assert_nothing_left(product)


@here(matrix.ACQUIRE, matrix.SLURMD, matrix.SLURMCTLD)
def test_daemon_restarted_while_acquiring(product: Product, fault: str, vendor: str):
    product.site.order_fault("status", PATHS[vendor], status=503, retry_after=1)
    job = submit(product, vendor)
    product.wait_for_request(PATHS[vendor])

    if fault == matrix.SLURMD:
        product.cluster.restart_slurmd("n1")
    else:
        product.cluster.restart_slurmctld()
    product.site.clear_faults()

    result = job.wait()
    assert (result.state, result.stdout, result.stderr) == ("COMPLETED", "started\n", "")
    assert_nothing_left(product)


@here(matrix.ACQUIRE, *SERVICE_FAULTS)
def test_service_fails_while_acquiring(product: Product, fault: str, vendor: str):
    order, reason = SERVICE_FAULTS[fault]
    product.write_plugstack("--acquire-timeout=2")
    if fault == matrix.DOWN:
        dead = product.entry(QPUS[vendor], **{ENDPOINTS[vendor]: DEAD_URL})
        product.write_plugstack("--acquire-timeout=2", config=product.write_config(dead))
    else:
        product.site.order_fault(path=PATHS[vendor], **order)  # type: ignore[arg-type]

    result = submit(product, vendor).wait()

    assert (result.state, result.stdout) == ("FAILED", "")
    assert re.search(reason, result.stderr), result.stderr
    assert_nothing_left(product)


@here(matrix.JOB, matrix.TASK)
def test_task_killed_during_the_job(product: Product, fault: str, vendor: str):
    job = submit(product, vendor, "echo here; exec sleep 600")
    wait_for_script(job)
    [stepd] = product.cluster.stepd_pids(job.id)
    [task] = children_of(stepd)

    os.kill(task, signal.SIGKILL)

    assert (job.wait().state, job.details()["ExitCode"]) == ("FAILED", "0:9")
    assert_nothing_left(product)


@here(matrix.RELEASE, matrix.SCANCEL)
def test_cancelled_while_releasing(product: Product, fault: str, vendor: str):
    keep_closing(product.site)
    job = submit(product, vendor)
    product.wait_for_request(f"{SESSIONS}/")

    job.cancel()
    wait_until_over(job)
    product.site.clear_faults()

    assert job.wait().state in {"CANCELLED", "COMPLETED"}
    assert_nothing_left(product)


@here(matrix.RELEASE, *RELEASE_FAULTS)
def test_service_fails_while_releasing(product: Product, fault: str, vendor: str):
    product.write_plugstack("--release-timeout=2")
    product.site.order_fault(path=f"{SESSIONS}/", **RELEASE_FAULTS[fault])  # type: ignore[arg-type]

    result = submit(product, vendor).wait()

    assert (result.state, result.stdout) == ("COMPLETED", "started\n")
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    assert len(product.unreleased()) >= len(product.site.open_sessions())
    product.site.clear_faults()
    done = product.command("release", "--orphaned")
    assert (done.returncode, done.stderr) == (0, "")
    assert_nothing_left(product)


def keep_closing(site: Site) -> None:
    """Let the site put off whoever closes a session."""
    site.order_fault("status", SESSIONS, method="PATCH", status=429, retry_after=1)


def wait_until_over(job: Job) -> None:
    """Wait until Slurm no longer counts the job as running, whatever its hooks still do."""
    wait_until(job.state, LIMIT_SECONDS, "end of the run", accept=lambda state: state != "RUNNING")


@dataclass(frozen=True)
class LimitedJobs:
    """A job with a limit of a minute in each stage, by stage and vendor, on a cluster apart."""

    product: Product
    jobs: dict[tuple[str, str], Job]


@pytest.fixture(scope="module")
def limited_jobs(
    cluster_folder_of_module: Path, installation: Installation
) -> Iterator[dict[str, LimitedJobs]]:
    """Jobs for each way. Slurm takes more than a minute to notice a limit: others run meanwhile."""
    with ExitStack() as stack:
        limited = {}
        for way in WAYS:
            folder = cluster_folder_of_module / way
            folder.mkdir(mode=0o755)
            site = stack.enter_context(Site(folder))
            cluster = stack.enter_context(SlurmCluster(folder / "cluster", nodes=1))
            server, plugin = None, installation.plugin
            if way == READY:
                server = stack.enter_context(worker_server(installation, folder))
            else:
                # A worker is told by its interpreter from those of the tests that run meanwhile.
                (folder / "environment").symlink_to(installation.environment)
                python = folder / "environment" / "bin" / "python"
                plugin = installation.copy_plugin(folder / "plugins", python)
            product = Product(cluster, installation, site, folder, server=server)
            limits = ("--acquire-timeout=300", "--release-timeout=150")
            product.write_plugstack(*limits, plugin=plugin)
            # Only at its start slurmd looks whether a plugin has an epilog.
            cluster.restart_slurmd("n1")
            cluster.assert_nodes_healthy()
            limited[way] = submit_limited_jobs(product)
        yield limited


def submit_limited_jobs(product: Product) -> LimitedJobs:
    """Submit a job for each stage and vendor that is held up there."""
    site = product.site
    during_job = submit(product, matrix.RUNTIME, "echo here; exec sleep 600", "--time=1")
    wait_for_script(during_job)
    [of_job] = site.open_sessions()
    script = f"echo here; {UNTIL_FINISHED}"
    during_release = submit(product, matrix.RUNTIME, script, "--time=1")
    wait_for_script(during_release)
    [session] = set(site.open_sessions()) - {of_job}
    site.order_fault("hang", f"{SESSIONS}/{session}")
    (during_release.folder / "finished").touch()
    product.wait_for_request(f"{SESSIONS}/{session}")
    jobs = {(matrix.JOB, matrix.RUNTIME): during_job}
    jobs[matrix.RELEASE, matrix.RUNTIME] = during_release
    for vendor, path in (PATHS | {matrix.RUNTIME: "/runtime/api/v1/backends/"}).items():
        site.order_fault("hang", path)
        jobs[matrix.ACQUIRE, vendor] = submit(product, vendor, "echo started", "--time=1")
    return LimitedJobs(product, jobs)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("stage", "vendor"),
    [
        (stage, vendor)
        for (fault, stage, vendor), where in matrix.cells().items()
        if where == matrix.HERE and fault == matrix.TIME_LIMIT
    ],
)
def test_time_limit(limited_jobs: dict[str, LimitedJobs], way: str, stage: str, vendor: str):
    product, job = limited_jobs[way].product, limited_jobs[way].jobs[stage, vendor]
    wait_until_over(job)
    if stage == matrix.RELEASE:
        product.site.clear_faults()

    result = job.wait(LIMIT_SECONDS)

    assert (result.state, "started" in result.stdout) == ("TIMEOUT", False)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_of_jobs_that_ran_into_their_limit(
    limited_jobs: dict[str, LimitedJobs], way: str
):
    product = limited_jobs[way].product
    product.site.clear_faults()

    assert_nothing_left(product)
    assert processes_naming(str(product.folder / "environment")) == {}
