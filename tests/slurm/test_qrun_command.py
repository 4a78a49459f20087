# SPDX-License-Identifier: GPL-3.0-or-later
"""qrun in real jobs, its variables exported by hand: without a plugin it must clean up itself."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from loopback.cluster import SlurmCluster
from loopback.job import Job
from loopback.site import Site
from loopback.waiting import wait_until
from spank_qrmi_simulator.site import APP_ID_CLIENT_ID, APP_ID_SECRET
from tests.slurm.bucket import Bucket

QRUN = f"{sys.executable} -m spank_qrmi.qrun"
BACKEND = "ibm_torino"
CIRCUIT = """OPENQASM 3.0;
include "stdgates.inc";
bit[1] meas;
x $3;
meas[0] = measure $3;
"""
SECONDS = 30.0
WAYS = ("srun", "exec")
"""How a script starts qrun."""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore.*")


class Service:
    """The simulated service with its bucket, as a job's qrun is told of it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        prefix = "QRMI_IBM_DA_"
        described = site.environment_of(BACKEND)
        stored = {
            name.removeprefix(prefix): value
            for name, value in described.items()
            if "_S3_" in name or "_AWS_" in name
        }
        self.app_id = {"APPID_CLIENT_ID": APP_ID_CLIENT_ID, "APPID_SECRET": APP_ID_SECRET}
        self.iam = {
            name: described[f"{prefix}{name}"]
            for name in ("IAM_ENDPOINT", "IAM_APIKEY", "SERVICE_CRN")
        }
        self._common = {
            "BACKEND": BACKEND,
            "PRIMITIVE": "sampler",
            "TIMEOUT_SECONDS": "600",
            "DAAPI_ENDPOINT": described[f"{prefix}ENDPOINT"],
            **stored,
        }
        self.bucket = Bucket(*site.qrun_arguments()[3:])

    def environment(self, login: dict[str, str]) -> dict[str, str]:
        """Return the variables that sbatch is to export."""
        return {f"IBMQRUN_{name}": value for name, value in {**self._common, **login}.items()}

    def jobs(self) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.site.url}/_simulator/state", trust_env=False)
        return [job for job in answer.json()["jobs"] if job["kind"] == "direct-access"]

    def hold_jobs(self) -> None:
        """Let the quantum jobs wait until somebody cancels them."""
        self.site.set_backend_status(BACKEND, "paused")

    def wait_for_jobs(self, count: int) -> None:
        wait_until(lambda: len(self.jobs()) == count, SECONDS, f"{count} quantum jobs")


@pytest.fixture
def service(site: Site) -> Iterator[Service]:
    """The service, which must be empty in the end."""
    service = Service(site)
    yield service
    assert (service.jobs(), service.bucket.keys()) == ([], [])


def submit(
    cluster: SlurmCluster, service: Service, script: str, *options: str, with_iam: bool = False
) -> Job:
    order = {"version": 2, "pubs": [[CIRCUIT, None, 10]], "support_qiskit": False}
    lines = ["cat > input.json <<'END'", json.dumps(order), "END", script]
    environment = service.environment(service.iam if with_iam else service.app_id)
    return cluster.submit("\n".join(lines), *options, env=environment)


def samples(path: Path) -> list[str]:
    return list(json.loads(path.read_bytes())["results"][0]["data"]["meas"]["samples"])


def test_two_tasks_of_a_step_and_two_runs_of_a_script(
    cluster: SlurmCluster, service: Service
) -> None:
    script = (
        f"srun --ntasks=2 bash -c '{QRUN} -r $SLURM_PROCID.json input.json'\n"
        f"{QRUN} -r 2.json input.json && {QRUN} input.json > 3.json"
    )
    jobs = [
        submit(cluster, service, script, "--ntasks=2", with_iam=with_iam)
        for with_iam in (False, True)
    ]
    for job in jobs:
        result = job.wait(120)
        assert (result.state, result.exit_code) == ("COMPLETED", "0:0"), result.stderr
        for number in range(4):
            assert samples(job.folder / f"{number}.json") == ["0x1"] * 10


def test_slurm_is_told_that_the_quantum_job_failed(cluster: SlurmCluster, service: Service) -> None:
    result = submit(cluster, service, f"sed -i s/x/h/ input.json; srun {QRUN} input.json").wait()
    assert (result.state, result.exit_code, result.stdout) == ("FAILED", "7:0", "")
    assert "qrun: job " in result.stderr


def test_signals_of_slurm_cancel_the_quantum_job(cluster: SlurmCluster, service: Service) -> None:
    """By scancel, and as Slurm sends one ahead of the limit."""
    service.hold_jobs()
    cancelled = [submit(cluster, service, f"{start} {QRUN} input.json") for start in WAYS]
    warned = submit(cluster, service, f"srun {QRUN} input.json")
    service.wait_for_jobs(3)
    for job in cancelled:
        job.cancel()
    cluster.run("scancel", "--signal=INT", f"{warned.id}.0")
    for start, job in zip(WAYS, cancelled, strict=True):
        result = job.wait()
        assert result.state == "CANCELLED", start
        assert "qrun: stopped by SIGTERM\n" in result.stderr, start
        assert "may still be" not in result.stderr, start
    result = warned.wait()
    assert result.state == "FAILED"
    assert "qrun: stopped by SIGINT\n" in result.stderr


def test_suspended_job_goes_on(cluster: SlurmCluster, service: Service) -> None:
    service.hold_jobs()
    job = submit(cluster, service, f"srun {QRUN} input.json > result.json")
    service.wait_for_jobs(1)
    cluster.run("scontrol", "suspend", str(job.id))
    job.wait_for_state("SUSPENDED")
    cluster.run("scontrol", "resume", str(job.id))
    job.wait_for_state("RUNNING")
    service.site.set_backend_status(BACKEND, "online")
    result = job.wait()
    assert (result.state, result.exit_code) == ("COMPLETED", "0:0"), result.stderr
    assert samples(job.folder / "result.json") == ["0x1"] * 10
