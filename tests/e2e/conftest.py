# SPDX-License-Identifier: GPL-3.0-or-later
"""The end-to-end ring runs on a cluster, installation and site as the Slurm ring has them."""

from collections.abc import Iterator

import pytest

from loopback.cluster import SlurmCluster
from loopback.installation import REPOSITORY

# pytest finds fixtures by their names in this module.
from tests.slurm.conftest import (  # noqa: F401
    _leaks,
    _leave_cluster_clean,
    _leave_no_secret,
    _site_process,
    cluster_of_session,
    installation,
    product,
    qrun_product,
    site,
    slurm_installed,
)

SHOWN = "repository"


@pytest.fixture(scope="session")
def cluster(
    request: pytest.FixtureRequest,
    slurm_installed: None,  # noqa: F811
) -> Iterator[SlurmCluster]:
    """Its users' jobs find programs and clients, also if root alone may enter the clone."""
    yield from cluster_of_session(request, {REPOSITORY: SHOWN})
