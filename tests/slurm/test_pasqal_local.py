# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions of Warden, in both versions: root's side makes a MUNGE credential for each request."""

import os
import re
import subprocess

import httpx
import pytest

from loopback.job import Job
from loopback.waiting import wait_until
from tests.slurm.both_ways import taking_turns
from tests.slurm.product import Product, resource_variables

pytestmark = pytest.mark.usefixtures("epilog_is_known")

START_SECONDS = 60
BY_PATH, BY_HEADER = "DELETE /warden/{}/sessions/{}", "DELETE /warden/{}/sessions"


def start_job(product: Product, name: str) -> Job:
    """Start a job that holds a session, and wait until its script runs."""
    job = product.submit("echo here; exec sleep 600", f"--qpu={name}", "--nodelist=n1")
    wait_until(lambda: "here" in job.stdout, START_SECONDS, "start of the script")
    assert len(product.site.open_sessions()) == 1
    return job


def credential_of(product: Product) -> str:
    """Return a credential of root's, made anew."""
    command = ["munge", "--no-input", f"--socket={product.cluster.munge_socket}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def releases_of(product: Product) -> list[str]:
    return [each for each in product.site.asked() if each.startswith("DELETE")]


@taking_turns("product", ("name", "version"), [("ORION", 1), ("VEGA", 2)])
def test_session_is_the_jobs_and_its_users(product: Product, name: str, version: int):
    job = product.submit("env -0; id -u >&2", f"--qpu={name}", user="nobody")

    result = job.wait()

    assert (result.state, result.stderr) == ("COMPLETED", "65534\n")
    product.wait_until_released()
    [session] = product.site.sessions()
    variables = resource_variables(result.stdout, name)
    assert variables.pop("QRMI_JOB_TIMEOUT_SECONDS").isdecimal()
    assert variables == {
        "QRMI_WARDEN_URL": f"{product.site.url}/warden/{version}",
        "QRMI_JOB_ACQUISITION_TOKEN": session["id"],
    }
    assert {"QRMI_JOB_UID=65534", f"QRMI_JOB_ID={job.id}"} <= {*result.stdout.split("\0")}
    order = {"user_id": "65534", "job_id": str(job.id), "slots": 1}
    assert product.site.warden_orders() == {session["id"]: order}
    expected = [BY_PATH.format(version, session["id"])]
    assert releases_of(product) == sorted([*expected, *([BY_HEADER.format(2)] * (version == 2))])


def test_session_is_revoked_by_the_command(product: Product):
    job = start_job(product, "VEGA")
    done = product.command("release", f"--job={job.id}")
    assert (done.stdout, done.stderr) == (f"job {job.id}: VEGA: released\n", "")
    assert product.site.open_sessions() == []
    job.cancel()
    job.wait()


def test_site_refuses_what_it_has_seen(product: Product):
    body = {"user_id": "1", "slurm_job_id": "1"}
    headers = {"X-Munge-Cred": credential_of(product)}
    with httpx.Client(base_url=f"{product.site.url}/warden/1", trust_env=False) as client:
        first, second = (client.post("/sessions", json=body, headers=headers) for _ in range(2))
        assert first.status_code == 200
        assert second.json() == {"detail": "MUNGE credential replayed"}
        again = {"X-Munge-Cred": credential_of(product)}
        session = f"/sessions/{first.json()['id']}"
        assert client.delete(session, headers=again).json()["revoked_at"] is not None


def test_each_try_has_a_credential_of_its_own(product: Product):
    acted = {"status": 503, "when": "after", "times": 1}
    product.site.order_fault("status", "/warden/1/sessions/", method="DELETE", **acted)

    assert product.run_job("true", "--qpu=ORION").state == "COMPLETED"

    product.wait_until_released()
    assert product.journal() == []
    statuses = [each["status"] for each in product.site.requests() if each["method"] == "DELETE"]
    assert statuses == [503, 200]


def test_what_cannot_be_proved_is_kept_until_it_can(product: Product):
    job = start_job(product, "ORION")
    # What a slurmstepd has read at its start holds for its job; the epilog reads it anew.
    product.write_plugstack(f"--munge-socket={product.folder / 'no-munged'}")
    product.kill_stepd(job)
    job.cancel()
    job.wait()
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    assert len(product.site.open_sessions()) == 1
    assert len(product.journal()) == 1
    product.write_plugstack()
    assert product.command("release", "--orphaned").returncode == 0
    assert product.site.open_sessions() == []


def test_credential_is_in_no_log(product: Product):
    """The search for leaks knows how each begins, and looks after each test."""
    assert re.match("MUNGE:AwQ", credential_of(product))
    job = product.submit("true", "--qpu=ORION,VEGA")
    assert job.wait().state == "COMPLETED"
    product.wait_until_released()
    logged = "\n".join(product.cluster.log_lines_of(job))
    assert "MUNGE:" not in logged
    assert f"{os.sep}warden/1/sessions/****: 200" in logged
