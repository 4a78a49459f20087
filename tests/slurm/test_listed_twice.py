# SPDX-License-Identifier: GPL-3.0-or-later
"""Plugins that plugstack.conf lists twice with different arguments."""

import pytest

from loopback.job import Job
from loopback.waiting import wait_until
from tests.slurm.product import Product
from tests.slurm.qrun_product import QrunProduct

QPU = "--qpu=ibm_sherbrooke"
NOTICE = "warning: listed twice in plugstack.conf"
START_SECONDS = 60


def write_lines(product: Product | QrunProduct, other: str, *, is_first: bool) -> None:
    """List the plugin once more, without what it needs, before the product's own line or after."""
    own = product.cluster.plugstack().strip()
    plugin = own.split()[1]
    lines = [f"optional {plugin} {other}", own]
    product.cluster.write_plugstack(*(lines if is_first else lines[::-1]))


def notices(product: Product | QrunProduct, job: Job) -> list[str]:
    return [line for line in product.cluster.log_lines_of(job) if NOTICE in line]


@pytest.mark.parametrize(
    ("other", "is_first"), [("", True), ("--state-dir=/var/lib/of_another_line", False)]
)
def test_session_is_opened_and_closed_once(product: Product, other: str, is_first: bool):
    write_lines(product, other, is_first=is_first)

    job = product.submit("printenv SLURM_JOB_QPU_RESOURCES", QPU)
    result = job.wait()

    assert (result.state, result.stdout, result.stderr) == ("COMPLETED", "ibm_sherbrooke\n", "")
    assert NOTICE not in job.submit_stderr
    assert product.sessions_served() == ["ibm_sherbrooke"]
    assert len(notices(product, job)) == 1


@pytest.mark.usefixtures("epilog_is_known")
def test_session_of_a_killed_stepd_is_closed_by_the_epilog(product: Product):
    write_lines(product, "", is_first=True)
    job = product.submit("echo here; exec sleep 600", QPU)
    wait_until(lambda: "here" in job.stdout, START_SECONDS, "start of the script")

    product.kill_stepd(job)
    job.cancel()

    assert product.sessions_served() == ["ibm_sherbrooke"]


def test_quantum_job_is_removed(qrun_product: QrunProduct):
    write_lines(qrun_product, "--cleanup-timeout=3", is_first=True)
    qrun_product.hold_jobs()

    job = qrun_product.submit(f"srun {qrun_product.stand_in()} 0")
    assert job.wait().state == "COMPLETED"

    [quantum_job_id] = qrun_product.wait_for_ids(job).values()
    assert qrun_product.cluster.wait_for_log(f"quantum job {quantum_job_id} was left", job)
    qrun_product.wait_until_removed()
    assert len(notices(qrun_product, job)) == 2
