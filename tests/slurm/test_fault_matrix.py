# SPDX-License-Identifier: GPL-3.0-or-later
"""The cells of the fault matrix that no other test has: nothing stays open, no node is drained.

Where a process or a job is ended, it makes a difference whose child the worker is: each cell is
run with one that is ready and with one that is spawned. Elsewhere a worker does the same either
way, and they take turns: each fault and each vendor is met by both.
"""

import os
import re
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from tests.slurm.product import Product
from tests.unit.vendors import HOLDERS, TOKEN, VENDORS, Vendor

pytestmark = pytest.mark.usefixtures("limited_jobs", "epilog_is_known")

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
    matrix.DOWN: {"kind": "drop"},
    matrix.HANGING: {"kind": "hang"},
    matrix.ERRING: {"kind": "status", "status": 500},
    matrix.SLOW: {"kind": "slow_drip", "delay_seconds": 0.5},
    matrix.LYING: {"kind": "malformed"},
}
ENDING = {matrix.STEPD, matrix.WORKER, matrix.SCANCEL}
"""What ends processes: it makes a difference there whose child the worker is."""

START_SECONDS = 60
LIMIT_SECONDS = 150
UNTIL_FINISHED = "until [ -e finished ]; do sleep 0.1; done"


CELLS_RUN: set[tuple[str, str, Vendor]] = set()
"""The cells that the tests below run."""


def chosen_cells(stage: str, *faults: str) -> list[tuple[str, Vendor]]:
    """Return those cells of a stage and some faults that are to be run here."""
    chosen = [
        (fault, vendor)
        for (fault, at, vendor), where in matrix.cells().items()
        if where == matrix.HERE and at == stage and fault in faults
    ]
    CELLS_RUN.update((fault, stage, vendor) for fault, vendor in chosen)
    return chosen


def here(stage: str, *faults: str) -> pytest.MarkDecorator:
    """Parametrise by those cells of a stage and some faults that are to be run here."""
    both_ways = [
        (way, *cell)
        for number, cell in enumerate(chosen_cells(stage, *faults))
        for way in (WAYS if cell[0] in ENDING else [WAYS[number % len(WAYS)]])
    ]
    names = ("product", "fault", "vendor")
    ids = [f"{way}-{fault}-{vendor.type_name}" for way, fault, vendor in both_ways]
    return pytest.mark.parametrize(names, both_ways, indirect=["product"], ids=ids)


@dataclass(frozen=True)
class Paths:
    """What the site is asked for a vendor's resource.

    `question` comes first, `acquisition` takes what there is to take, `release` begins what gives
    it back by `release_method`.
    """

    question: str
    acquisition: str
    release: str
    release_method: str

    @classmethod
    def of(cls, vendor: Vendor) -> "Paths":
        """Return a vendor's."""
        asked = [each.split(" ")[1] for each in vendor.on_site({**vendor.check, **vendor.acquire})]
        released = vendor.on_site(vendor.release)
        method, _, path = released[-1].partition(" ") if released else ("", "", "")
        acquisition = asked[-1] if vendor.holds else asked[0]
        return cls(asked[0], acquisition, path.partition(TOKEN)[0], method)


def submit(product: Product, vendor: Vendor, script: str = "echo started", *options: str) -> Job:
    return product.submit(script, f"--qpu={vendor.name}", "--nodelist=n1", *options)


def wait_for_script(job: Job) -> None:
    wait_until(lambda: job.stdout, START_SECONDS, "start of the script")


def assert_nothing_left(product: Product) -> None:
    product.wait_until_released()
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    assert product.cluster.stepd_pids() == set()


def strike(product: Product, job: Job, fault: str) -> None:
    """End a process or a job, or restart a daemon; without its slurmstepd a job is cancelled."""
    if fault == matrix.WORKER:
        os.kill(product.wait_for_worker(job), signal.SIGKILL)
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
        product.cluster.restart_slurmd("n1")
    else:
        product.cluster.restart_slurmctld()


@here(matrix.ACQUIRE, matrix.STEPD, matrix.WORKER, matrix.SCANCEL)
def test_killed_while_acquiring(product: Product, fault: str, vendor: Vendor):
    path = Paths.of(vendor).acquisition
    product.site.order_fault("hang", only(path))
    job = submit(product, vendor)
    product.wait_for_request(path)

    strike(product, job, fault)

    result = job.wait()
    expected = "FAILED" if fault == matrix.WORKER else "CANCELLED"
    assert (result.state, result.stdout) == (expected, "")
    assert_nothing_left(product)


@here(matrix.ACQUIRE, matrix.SLURMD, matrix.SLURMCTLD)
def test_daemon_restarted_while_acquiring(product: Product, fault: str, vendor: Vendor):
    path = Paths.of(vendor).question
    product.site.order_fault("status", only(path), status=503, retry_after=1)
    job = submit(product, vendor)
    product.wait_for_request(path)

    strike(product, job, fault)
    product.site.clear_faults()

    result = job.wait()
    assert (result.state, result.stdout, result.stderr) == ("COMPLETED", "started\n", "")
    assert_nothing_left(product)


@here(matrix.ACQUIRE, *SERVICE_FAULTS)
def test_service_fails_while_acquiring(product: Product, fault: str, vendor: Vendor):
    order, reason = SERVICE_FAULTS[fault]
    product.write_plugstack("--acquire-timeout=2")
    if fault == matrix.DOWN:
        dead = product.entry(vendor.name, **{vendor.endpoint_key: DEAD_URL})
        product.write_plugstack("--acquire-timeout=2", config=product.write_config(dead))
    else:
        path = only(Paths.of(vendor).acquisition)
        product.site.order_fault(path=path, **order)  # type: ignore[arg-type]

    result = submit(product, vendor).wait()

    assert (result.state, result.stdout) == ("FAILED", "")
    assert re.search(reason, result.stderr), result.stderr
    assert_nothing_left(product)


@here(
    *(matrix.JOB, matrix.STEPD, matrix.TASK, matrix.SCANCEL),
    *(matrix.SLURMD, matrix.SLURMCTLD),
)
def test_struck_during_the_job(product: Product, fault: str, vendor: Vendor):
    job = submit(product, vendor, "echo here; exec sleep 600")
    wait_for_script(job)

    strike(product, job, fault)

    if fault in {matrix.SLURMD, matrix.SLURMCTLD}:
        assert len(product.site.open_sessions()) == 1
        job.cancel()
    ended = (job.wait().state, job.details()["ExitCode"])
    assert ended == ("FAILED", "0:9") if fault == matrix.TASK else ended[0] == "CANCELLED"
    assert_nothing_left(product)


@here(
    *(matrix.RELEASE, matrix.STEPD, matrix.WORKER, matrix.SCANCEL),
    *(matrix.SLURMD, matrix.SLURMCTLD),
)
def test_struck_while_releasing(product: Product, fault: str, vendor: Vendor):
    paths = Paths.of(vendor)
    put_off(product.site, paths)
    job = submit(product, vendor)
    product.wait_for_request(paths.release)

    strike(product, job, fault)
    if fault == matrix.SCANCEL:
        wait_until_over(job)
    product.site.clear_faults()

    assert job.wait().state in {"CANCELLED", "COMPLETED"}
    assert_nothing_left(product)


@here(matrix.RELEASE, *RELEASE_FAULTS)
def test_service_fails_while_releasing(product: Product, fault: str, vendor: Vendor):
    product.write_plugstack("--release-timeout=2")
    path = Paths.of(vendor).release
    product.site.order_fault(path=path, **RELEASE_FAULTS[fault])  # type: ignore[arg-type]

    result = submit(product, vendor).wait()

    assert (result.state, result.stdout) == ("COMPLETED", "started\n")
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    assert len(product.unreleased()) >= len(product.site.open_sessions())
    product.site.clear_faults()
    done = product.command("release", "--orphaned")
    assert (done.returncode, done.stderr) == (0, "")
    assert_nothing_left(product)


def only(path: str) -> str:
    """Return the expression of this path and no other."""
    return f"^{re.escape(path)}$"


def put_off(site: Site, paths: Paths) -> None:
    """Let the site put off whoever gives back what it holds."""
    what = {"method": paths.release_method, "status": 429, "retry_after": 1}
    site.order_fault("status", paths.release, **what)


def wait_until_over(job: Job) -> None:
    """Wait until Slurm no longer counts the job as running, whatever its hooks still do."""
    wait_until(
        job.state,
        LIMIT_SECONDS,
        "end of the run",
        accept=lambda state: state not in {"PENDING", "CONFIGURING", "RUNNING"},
    )


@dataclass(frozen=True)
class LimitedJobs:
    """A job with a limit of a minute in each stage, by stage and vendor, on a cluster apart.

    `let_go` is done once none of them is held up any more.
    """

    product: Product
    jobs: dict[tuple[str, Vendor], Job]
    let_go: Future[None]


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
            cluster = stack.enter_context(SlurmCluster(folder / "cluster", nodes=1))
            site = stack.enter_context(Site(folder, munge_socket=cluster.munge_socket))
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
            jobs = submit_limited_jobs(product)
            thread = stack.enter_context(ThreadPoolExecutor(1))
            limited[way] = LimitedJobs(
                product, jobs, thread.submit(let_go_once_over, product, list(jobs.values()))
            )
        yield limited


def submit_limited_jobs(product: Product) -> dict[tuple[str, Vendor], Job]:
    """Submit a job for each stage and vendor that is held up there."""
    jobs: dict[tuple[str, Vendor], Job] = {}
    for vendor in HOLDERS:
        release = Paths.of(vendor).release
        before = set(product.site.open_sessions())
        jobs[matrix.JOB, vendor] = submit(product, vendor, "echo here; exec sleep 600", "--time=1")
        wait_for_script(jobs[matrix.JOB, vendor])
        of_job = set(product.site.open_sessions())
        assert len(of_job - before) == 1
        script = f"echo here; {UNTIL_FINISHED}"
        releasing = jobs[matrix.RELEASE, vendor] = submit(product, vendor, script, "--time=1")
        wait_for_script(releasing)
        [session] = set(product.site.open_sessions()) - of_job
        product.site.order_fault("hang", f"{release}{session}")
        (releasing.folder / "finished").touch()
        product.wait_for_request(f"{release}{session}")
    for vendor in VENDORS:
        product.site.order_fault("hang", only(Paths.of(vendor).question))
        jobs[matrix.ACQUIRE, vendor] = submit(product, vendor, "echo started", "--time=1")
    return jobs


def let_go_once_over(product: Product, jobs: Sequence[Job]) -> None:
    """Withdraw the faults once all jobs have reached their limits.

    No release has been given up then, however long the tests take that run meanwhile.
    """
    for job in jobs:
        wait_until_over(job)
    product.site.clear_faults()


LIMITED = [
    (stage, vendor)
    for stage in matrix.STAGES
    for _, vendor in chosen_cells(stage, matrix.TIME_LIMIT)
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("stage", "vendor"), LIMITED, ids=[f"{stage}-{vendor.type_name}" for stage, vendor in LIMITED]
)
def test_time_limit(limited_jobs: dict[str, LimitedJobs], way: str, stage: str, vendor: Vendor):
    result = limited_jobs[way].jobs[stage, vendor].wait(LIMIT_SECONDS)

    assert (result.state, "started" in result.stdout) == ("TIMEOUT", False)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_of_jobs_that_ran_into_their_limit(
    limited_jobs: dict[str, LimitedJobs], way: str
):
    product = limited_jobs[way].product
    limited_jobs[way].let_go.result(LIMIT_SECONDS)

    assert_nothing_left(product)
    assert processes_naming(str(product.folder / "environment")) == {}
