# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin that plugstack.conf lists twice with different arguments."""

import pytest

from tests.slurm.product import Product

NOTICE = "warning: listed twice in plugstack.conf"


@pytest.mark.parametrize(
    ("other", "is_first"), [("", True), ("--state-dir=/var/lib/of_another_line", False)]
)
def test_session_is_opened_and_closed_once(product: Product, other: str, is_first: bool):
    own = product.cluster.plugstack().strip()
    lines = [f"optional {product.installation.plugin} {other}", own]
    product.cluster.write_plugstack(*(lines if is_first else lines[::-1]))

    job = product.submit("printenv SLURM_JOB_QPU_RESOURCES", "--qpu=ibm_sherbrooke")
    result = job.wait()

    assert (result.state, result.stdout, result.stderr) == ("COMPLETED", "ibm_sherbrooke\n", "")
    assert NOTICE not in job.submit_stderr
    assert product.sessions_served() == ["ibm_sherbrooke"]
    assert sum(NOTICE in line for line in product.cluster.log_lines_of(job)) == 1
