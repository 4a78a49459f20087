# SPDX-License-Identifier: GPL-3.0-or-later
"""An epilog ends within the time that Slurm gives it, whatever a service does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.cluster import SlurmCluster
from loopback.configuration import slurm_version
from loopback.installation import Installation
from loopback.site import Site
from loopback.waiting import wait_until
from tests.slurm.product import Product

SESSIONS = "/runtime/api/v1/sessions/"
START_SECONDS = 60
LIMIT_SECONDS = 10


@pytest.fixture
def product(cluster_folder: Path, installation: Installation) -> Iterator[Product]:
    """The product on a cluster that drains a node whose epilog takes long."""
    key = "PrologEpilogTimeout" if slurm_version() < (25, 5) else "EpilogTimeout"
    folder = cluster_folder / "cluster"
    with (
        Site(cluster_folder) as site,
        SlurmCluster(folder, nodes=1, settings={key: str(LIMIT_SECONDS)}) as cluster,
    ):
        product = Product(cluster, installation, site, cluster_folder)
        product.write_plugstack()
        # Only at its start slurmd looks whether a plugin has an epilog.
        cluster.restart_slurmd("n1")
        yield product


def test_silent_service_does_not_drain_the_node(product: Product):
    job = product.submit("echo here; exec sleep 600", "--qpu=ibm_sherbrooke")
    wait_until(lambda: "here" in job.stdout, START_SECONDS, "start of the script")
    product.site.order_fault("hang", SESSIONS)

    product.kill_stepd(job)
    job.cancel()

    product.cluster.wait_for_empty_queue()
    assert product.cluster.wait_for_log("<- slurm_spank_job_epilog rc=0")
    product.cluster.assert_nodes_healthy()
    assert len(product.journal()) == 1

    product.site.clear_faults()
    assert product.command("release", "--orphaned").returncode == 0
    product.wait_until_released()
