# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions of Warden, in both versions: root's side makes a MUNGE credential for each request."""

import os
import re
import socket
import subprocess

import httpx
import pytest

from loopback.job import Job
from loopback.waiting import wait_until
from tests.slurm.both_ways import both_ways, taking_turns
from tests.slurm.product import Product, readable_lines, resource_variables

pytestmark = pytest.mark.usefixtures("epilog_is_known")

START_SECONDS = 60
BY_PATH, BY_HEADER = "DELETE /warden/{}/sessions/{}", "DELETE /warden/{}/sessions"
VERSIONS = (("ORION", 1), ("VEGA", 2))

each_version = taking_turns("product", ("name", "version"), VERSIONS * 2)
each_name = taking_turns("product", ("name",), [(name,) for name, _ in VERSIONS])


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


@pytest.mark.parametrize("product", ["ready", "spawned"], indirect=True)
@pytest.mark.parametrize(("name", "version"), VERSIONS)
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


@each_version
def test_session_is_revoked_when_the_job_is_cancelled(product: Product, name: str, version: int):
    job = start_job(product, name)
    job.cancel()
    assert job.wait().state == "CANCELLED"
    product.wait_until_released()
    assert product.journal() == []


@each_version
def test_session_is_revoked_by_the_epilog(product: Product, name: str, version: int):
    job = start_job(product, name)
    product.kill_stepd(job)
    job.cancel()
    product.wait_until_released()
    assert product.cluster.wait_for_log("<- slurm_spank_job_epilog rc=0")


@each_name
def test_session_is_revoked_by_the_command(product: Product, name: str):
    job = start_job(product, name)
    done = product.command("release", f"--job={job.id}")
    assert (done.stdout, done.stderr) == (f"job {job.id}: {name}: released\n", "")
    assert product.site.open_sessions() == []
    job.cancel()
    job.wait()


@each_name
def test_session_is_revoked_by_the_timer(product: Product, name: str):
    job = start_job(product, name)
    product.kill_stepd(job)
    done = product.command("release", "--orphaned", "--due")
    assert (done.stdout, done.stderr) == (f"job {job.id}: {name}: released\n", "")
    assert product.site.open_sessions() == []
    job.cancel()
    job.wait()


@each_name
def test_session_that_could_not_be_revoked_is_tried_again(product: Product, name: str):
    product.write_plugstack("--release-timeout=1")
    product.site.order_fault("status", "/sessions", method="DELETE", status=500)
    job = product.submit("true", f"--qpu={name}", "--nodelist=n1")
    assert job.wait().state == "COMPLETED"
    product.cluster.wait_for_empty_queue()
    assert len(product.site.open_sessions()) == 1
    product.site.clear_faults()
    done = product.command("release", "--orphaned")
    assert (done.returncode, done.stderr) == (0, "")
    assert product.site.open_sessions() == []


@both_ways
def test_version_2_that_knows_no_path_of_a_session(product: Product):
    product.site.change_backend("VEGA", has_session_path=False)
    assert product.run_job("true", "--qpu=VEGA").state == "COMPLETED"
    product.wait_until_released()
    assert product.journal() == []


@both_ways
def test_qpu_without_free_slots_is_busy(product: Product):
    product.site.change_backend("VEGA", qpu_slots_total=0)
    result = product.run_job("true", "--qpu=VEGA")
    assert result.state == "FAILED"
    [line, _] = readable_lines(result.stderr)
    url = f"{product.site.url}/warden/2/sessions"
    reason = f"{url} answered 409 Conflict: Not enough QPU slots available."
    assert line == f"QPU VEGA: busy: no QPU slots free: {reason}"
    assert product.journal() == []


def test_slots_are_the_sites_and_a_user_may_lower_them(product: Product):
    entry = product.entry("VEGA", QRMI_JOB_QPU_SLOTS="3")
    product.write_plugstack(config=product.write_config(entry))

    def slots_with(**env: str) -> list[int]:
        product.run_job("true", "--qpu=VEGA", env=env)
        return [order["slots"] for order in product.site.warden_orders().values()]

    assert slots_with() == [3]
    assert slots_with(VEGA_QRMI_JOB_QPU_SLOTS="2") == [3, 2]
    result = product.run_job("true", "--qpu=VEGA", env={"VEGA_QRMI_JOB_QPU_SLOTS": "4"})
    text = "QPU VEGA: VEGA_QRMI_JOB_QPU_SLOTS is more than the site allows (3): lower it"
    assert readable_lines(result.stderr)[0] == text


def test_message_of_the_administrator_is_told(product: Product):
    product.site.change_backend("ORION", is_accessible=False, message="Maintenance until noon")
    result = product.run_job("true", "--qpu=ORION")
    assert readable_lines(result.stderr)[0] == "QPU ORION: not accessible: Maintenance until noon"
    product.wait_until_released()
    assert product.journal() == []


REFUSALS = [
    ({"munge": "expired"}, "401 Unauthorized: MUNGE credential expired; this node and Warden's"),
    ({"munge": "undecodable"}, "500 Internal Server Error: MUNGE decode failed; this node and"),
    ({"only_user": "1"}, "403 Forbidden: User ID not authorized.; Warden must take user 0"),
    ({"admin_uid": 1}, "403 Forbidden: Endpoint restricted to admin user.; Warden must take"),
]


@taking_turns("product", ("change", "expected"), REFUSALS)
def test_refusal_says_what_to_look_at(product: Product, change: dict[str, object], expected: str):
    product.site.change_backend("ORION", **change)
    result = product.run_job("true", "--qpu=ORION")
    assert expected in readable_lines(result.stderr)[0]
    assert product.journal() == []


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


@both_ways
def test_each_try_has_a_credential_of_its_own(product: Product):
    acted = {"status": 503, "when": "after", "times": 2}
    product.site.order_fault("status", "/warden/1/sessions/", method="DELETE", **acted)

    assert product.run_job("true", "--qpu=ORION").state == "COMPLETED"

    product.wait_until_released()
    assert product.journal() == []
    statuses = [each["status"] for each in product.site.requests() if each["method"] == "DELETE"]
    assert statuses == [503, 503, 200]


@both_ways
def test_node_without_munged_says_so(product: Product):
    nowhere = product.folder / "no-munged"
    product.write_plugstack(f"--munge-socket={nowhere}")
    result = product.run_job("true", "--qpu=ORION")
    assert readable_lines(result.stderr)[0] == (
        f"QPU ORION: munged does not answer at {nowhere}: start it, or name its socket by "
        "--munge-socket= in plugstack.conf"
    )
    assert product.site.sessions() == []
    assert product.journal() == []


def test_munged_that_hangs_holds_up_nothing(product: Product):
    path = product.folder / "silent"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        product.write_plugstack(f"--munge-socket={path}")
        result = product.run_job("true", "--qpu=ORION")
    expected = f"QPU ORION: munged does not answer at {path} in time: restart it"
    assert readable_lines(result.stderr)[0] == expected


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


@both_ways
@pytest.mark.parametrize("key", ["QRMI_WARDEN_URL", "QRMI_URL"])
def test_roots_credential_goes_to_no_endpoint_of_a_users(product: Product, key: str):
    product.write_plugstack("--user-endpoints=allow")
    own = {f"ORION_{key}": f"{product.site.url}/warden/2"}
    result = product.run_job("true", "--qpu=ORION", env=own)
    expected = f"QPU ORION: ORION_{key} is set by the site alone: unset it"
    assert readable_lines(result.stderr)[0] == expected
    assert product.site.asked() == []


def test_site_with_the_old_name_of_the_variable(product: Product):
    entry = product.entry("ORION")
    entry["environment"] = {"QRMI_URL": entry["environment"]["QRMI_WARDEN_URL"]}
    product.write_plugstack(config=product.write_config(entry))
    job = product.submit("true", "--qpu=ORION")
    assert job.wait().state == "COMPLETED"
    product.cluster.wait_for_log("QRMI_URL is the old name of QRMI_WARDEN_URL: rename it", job)
    product.wait_until_released()


def test_credential_is_in_no_log(product: Product):
    """The search for leaks knows how each begins, and looks after each test."""
    assert re.match("MUNGE:AwQ", credential_of(product))
    job = product.submit("true", "--qpu=ORION,VEGA")
    assert job.wait().state == "COMPLETED"
    product.wait_until_released()
    logged = "\n".join(product.cluster.log_lines_of(job))
    assert "MUNGE:" not in logged
    assert f"{os.sep}warden/1/sessions/****: 200" in logged
