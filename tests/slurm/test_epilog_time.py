# SPDX-License-Identifier: GPL-3.0-or-later
"""An epilog ends within the time that Slurm gives it, whatever a service does."""

from loopback.configuration import slurm_version
from tests.slurm.product import SESSIONS, Product

LIMIT = "PrologEpilogTimeout" if slurm_version() < (25, 5) else "EpilogTimeout"
# It drains a node whose epilog takes long.
CLUSTER = {"nodes": 1, "settings": {LIMIT: "10"}}


def test_silent_service_does_not_drain_the_node(product: Product):
    # Only at its start slurmd looks whether a plugin has an epilog.
    product.cluster.restart_slurmd("n1")
    job = product.start_job("--qpu=ibm_sherbrooke")
    product.site.order_fault("hang", f"{SESSIONS}/")

    product.kill_stepd(job)
    job.cancel()

    product.cluster.wait_for_empty_queue()
    assert product.cluster.wait_for_log("<- slurm_spank_job_epilog rc=0")
    product.cluster.assert_nodes_healthy()
    assert len(product.journal()) == 1

    product.site.clear_faults()
    assert product.spank_qrmi("release", "--orphaned").returncode == 0
