# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions of Warden, in both versions: root's side makes a MUNGE credential for each request."""

import subprocess

import pytest

from loopback.site import SECRETS
from tests.slurm.both_ways import taking_turns
from tests.slurm.product import Product, resource_variables

pytestmark = pytest.mark.usefixtures("epilog_is_known")

BY_PATH, BY_HEADER = "DELETE /warden/{}/sessions/{}", "DELETE /warden/{}/sessions"


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
    # The search for leaks knows how each credential begins.
    munge = ("munge", "--no-input", f"--socket={product.cluster.munge_socket}")
    made = subprocess.run(munge, capture_output=True, text=True, check=True).stdout
    assert made.startswith(SECRETS["MUNGE credential"])
    logged = "\n".join(product.cluster.log_lines_of(job))
    assert ("MUNGE:" in logged, f"/warden/{version}/sessions/****: " in logged) == (False, True)
    assert {"QRMI_JOB_UID=65534", f"QRMI_JOB_ID={job.id}"} <= {*result.stdout.split("\0")}
    order = {"user_id": "65534", "job_id": str(job.id), "slots": 1}
    assert product.site.warden_orders() == {session["id"]: order}
    expected = [BY_PATH.format(version, session["id"])]
    releases = [each for each in product.site.asked() if each.startswith("DELETE")]
    assert releases == sorted([*expected, *([BY_HEADER.format(2)] * (version == 2))])


def test_what_cannot_be_proved_is_kept_until_it_can(product: Product):
    job = product.start_job("--qpu=ORION")
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
    assert product.spank_qrmi("release", "--orphaned").returncode == 0
    assert product.site.open_sessions() == []
