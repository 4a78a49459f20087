# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs whose workers come from a worker server, with the rights that its systemd unit gives it."""

import configparser
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.job import Job
from loopback.processes import children_of, command_line, end_processes
from loopback.socket_unit import SocketUnit
from loopback.waiting import wait_until
from loopback.worker_server import is_listened_to
from spank_qrmi.state.journal import Entry, Journal
from tests.slurm.product import Product, qpu_variables
from tests.slurm.qrun_product import MARK, OPTIONS, QrunProduct

UNITS = Path(__file__).parents[2] / "systemd"
WORKER_SECONDS = 60
QPU = "--qpu=ibm_sherbrooke"


def rights() -> list[str]:
    """Return the command that gives a program the unit's capabilities and no more."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.read(UNITS / "spank-qrmi-worker-server.service")
    names = unit["Service"]["CapabilityBoundingSet"].lower().split()
    kept = ",".join(f"+{name.removeprefix('cap_')}" for name in names)
    return ["setpriv", f"--bounding-set=-all,{kept}", "--no-new-privs", "--"]


@pytest.fixture
def server(product: Product) -> Iterator[SocketUnit]:
    """A worker server for the product's workers."""
    command = product.installation.environment / "bin" / "spank-qrmi"
    service = [*rights(), str(command), "worker-server"]
    with SocketUnit(product.folder / "worker_server", service, product.folder) as unit:
        product.write_plugstack(f"--worker-server={unit.path}")
        wait_until_started(unit)
        yield unit
        assert unit.said == ""


def wait_until_started(server: SocketUnit) -> None:
    """Have the server started, and wait until a plugin need not: it would not wait for long."""
    assert is_listened_to(server.path)
    wait_for_worker(server)


def wait_for_worker(server: SocketUnit) -> int:
    """Wait for a worker of the server; return its process id."""

    def found() -> list[int]:
        return [] if server.pid is None else children_of(server.pid)

    return wait_until(found, WORKER_SECONDS, "worker of the worker server")[0]


def sessions_served(product: Product) -> list[str]:
    """Wait until all sessions are closed; return their backends."""
    product.site.wait_until_released()
    return [each["backend_name"] for each in product.site.sessions()]


def served_count(product: Product, server: SocketUnit, job: Job) -> int:
    lines = product.cluster.log_lines_of(job)
    return sum(f"worker of worker server {server.path}" in line for line in lines)


def test_qpus_of_every_vendor(product: Product, server: SocketUnit):
    job = product.submit("env -0", "--qpu=ibm_torino,ibm_sherbrooke,FRESNEL")
    result = job.wait()
    assert (result.state, result.stderr) == ("COMPLETED", "")
    found = qpu_variables(result.stdout)
    assert found["SLURM_JOB_QPU_RESOURCES"] == "ibm_torino,ibm_sherbrooke,FRESNEL"
    assert sessions_served(product) == ["ibm_sherbrooke"]
    assert served_count(product, server, job) == 2
    # What the server was started in decides how workers encode names of files.
    environment = Path(f"/proc/{server.pid}/environ").read_text().split("\0")
    assert sorted(environment) == [
        *("", "LC_ALL=C.UTF-8", "LISTEN_FDS=1", f"LISTEN_PID={server.pid}", "PATH=/usr/bin:/bin")
    ]


def test_entry_belongs_to_the_jobs_slurmstepd(product: Product, server: SocketUnit):
    job = product.submit("sleep 600", QPU)
    product.wait_for_recorded_session()
    [entry] = Journal(product.state_directory).entries()
    assert isinstance(entry, Entry)
    assert entry.owner is not None
    assert {entry.owner.pid} == product.cluster.stepd_pids(job.id)
    product.kill_stepd(job)
    assert product.command("release", "--orphaned").returncode == 0
    job.cancel()
    product.site.wait_until_released()


def test_ready_worker_whose_network_process_was_killed(product: Product, server: SocketUnit):
    """It would fail the job that it is handed out to."""
    worker = wait_for_worker(server)
    [network] = wait_until(lambda: children_of(worker), WORKER_SECONDS, "its network process")
    end_processes([network])
    wait_until(lambda: command_line(worker) == [], WORKER_SECONDS, "end of that worker")
    job = product.submit("echo started", QPU)
    result = job.wait()
    assert (result.state, result.stdout, result.stderr) == ("COMPLETED", "started\n", "")
    assert sessions_served(product) == ["ibm_sherbrooke"]
    assert served_count(product, server, job) == 2


def test_server_that_dies_while_a_job_acquires(product: Product, server: SocketUnit):
    product.site.order_fault("delay", "/runtime/", delay_seconds=1)
    job = product.submit("echo started; until [ -e finished ]; do sleep 0.1; done", QPU)
    product.wait_for_request("/runtime/")
    assert server.pid is not None
    end_processes([server.pid])
    wait_until(lambda: job.stdout, WORKER_SECONDS, "start of the script")
    # Another one is there for the release.
    wait_until_started(server)
    (job.folder / "finished").touch()
    result = job.wait()
    assert (result.state, result.stdout, result.stderr) == ("COMPLETED", "started\n", "")
    assert sessions_served(product) == ["ibm_sherbrooke"]
    assert served_count(product, server, job) == 2


def test_plugin_for_qrun(qrun_product: QrunProduct):
    command = qrun_product.installation.environment / "bin" / "spank-qrmi"
    service = [*rights(), str(command), "worker-server"]
    with SocketUnit(qrun_product.folder / "worker_server", service, qrun_product.folder) as unit:
        qrun_product.write_plugstack(f"--worker-server={unit.path}")
        wait_until_started(unit)
        job = qrun_product.submit(f"printenv IBMQRUN_BACKEND; {MARK}", *OPTIONS)
        result = job.wait()
        assert (result.state, result.stdout) == ("COMPLETED", "ibm_torino\n")

        def served() -> list[str]:
            lines = qrun_product.cluster.log_lines_of(job)
            return [line for line in lines if f"worker of worker server {unit.path}" in line]

        # One for the variables, and one to clean up at the end.
        wait_until(lambda: len(served()) == 2, WORKER_SECONDS, "clean-up")
