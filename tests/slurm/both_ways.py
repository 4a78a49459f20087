# SPDX-License-Identifier: GPL-3.0-or-later
"""The product with workers that are ready, and with workers that slurmstepd starts."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from loopback.cluster import SlurmCluster
from loopback.installation import Installation
from loopback.site import Site
from loopback.worker_server import worker_server
from tests.slurm.product import Product, product_on


@pytest.fixture(params=["ready", "spawned"])
def product(
    request: pytest.FixtureRequest, cluster: SlurmCluster, installation: Installation, site: Site
) -> Iterator[Product]:
    """The product as the fixture of the same name has it, once for each way."""
    with product_on(cluster, installation, site) as spawning:
        if request.param == "spawned":
            yield spawning
            return
        with worker_server(installation, spawning.folder) as server:
            product = replace(spawning, server=server)
            product.write_plugstack()
            yield product
            cluster.wait_for_empty_queue()
            product.wait_until_released()
