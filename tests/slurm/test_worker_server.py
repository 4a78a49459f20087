# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs whose workers come from a worker server, with the rights that its systemd unit gives it."""

import configparser
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.job import parse_environment
from loopback.processes import children_of
from loopback.socket_unit import SocketUnit
from loopback.waiting import wait_until
from loopback.worker_server import is_listened_to
from spank_qrmi.state.journal import Entry, Journal
from tests.slurm.product import Product
from tests.slurm.qrun_product import MARK, QrunProduct

UNIT = Path(__file__).parents[2] / "systemd" / "spank-qrmi-worker-server.service"


@pytest.fixture
def server(product: Product) -> Iterator[SocketUnit]:
    """A worker server that was started, for which a plugin need not wait: it would not for long."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.read(UNIT)
    names = unit["Service"]["CapabilityBoundingSet"].lower().split()
    kept = ",".join(f"+{name.removeprefix('cap_')}" for name in names)
    command = product.installation.environment / "bin" / "spank-qrmi"
    service = ["setpriv", f"--bounding-set=-all,{kept}", "--no-new-privs", "--"]
    service += [str(command), "worker-server"]
    with SocketUnit(product.folder / "worker_server", service, product.folder) as server:
        product.write_plugstack(f"--worker-server={server.path}")
        assert is_listened_to(server.path)
        wait_until(
            lambda: server.pid is not None and children_of(server.pid), 60, "worker of the server"
        )
        yield server
        assert server.said == ""


def test_both_plugins_in_one_job(product: Product, server: SocketUnit):
    ours = product.cluster.plugstack().strip()
    qrun = QrunProduct(**vars(product))
    qrun.write_plugstack(f"--worker-server={server.path}")
    product.cluster.write_plugstack(ours, qrun.cluster.plugstack().strip())
    job = qrun.submit(f"env -0; {MARK}", "--qpu=ibm_torino,ibm_sherbrooke,FRESNEL")
    result = job.wait()
    assert (result.state, result.stderr) == ("COMPLETED", "")
    found = parse_environment(result.stdout)
    assert found["SLURM_JOB_QPU_RESOURCES"] == "ibm_torino,ibm_sherbrooke,FRESNEL"
    assert found["IBMQRUN_BACKEND"] == "ibm_torino"
    product.site.wait_until_released()
    sessions = [(each["backend_name"], each["closed_how"]) for each in product.site.sessions()]
    assert sessions == [("ibm_sherbrooke", "drained")]

    def served() -> int:
        lines = product.cluster.log_lines_of(job)
        return sum(f"worker of worker server {server.path}" in line for line in lines)

    # For each plugin one at the start, and one at the end.
    wait_until(served, 60, "clean-up", accept=(4).__eq__)
    # What the server was started in decides how workers encode names of files.
    environment = Path(f"/proc/{server.pid}/environ").read_text().split("\0")
    assert sorted(environment) == [
        *("", "LC_ALL=C.UTF-8", "LISTEN_FDS=1", f"LISTEN_PID={server.pid}", "PATH=/usr/bin:/bin")
    ]


@pytest.mark.usefixtures("server")
def test_entry_belongs_to_the_jobs_slurmstepd(product: Product):
    job = product.submit("sleep 600", "--qpu=ibm_sherbrooke")
    product.wait_for_recorded_session()
    [entry] = Journal(product.state_directory).entries()
    assert isinstance(entry, Entry)
    assert entry.owner is not None
    assert {entry.owner.pid} == product.cluster.stepd_pids(job.id)
    product.kill_stepd(job)
    assert product.spank_qrmi("release", "--orphaned").returncode == 0
    job.cancel()
    product.site.wait_until_released()
