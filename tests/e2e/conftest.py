# SPDX-License-Identifier: GPL-3.0-or-later
"""The end-to-end ring runs on a cluster, installation and site as the Slurm ring has them."""

from collections.abc import Iterator
from pathlib import Path

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
"""Where jobs see the clone, also if root alone may enter it."""
MUNGE_SOCKET = Path("munge", "munge.socket.2")
"""Below /run: into libmunge its place is compiled."""


def mounts_in(folder: Path) -> dict[Path, Path]:
    """Make what users' programs are to find; in their /run is nothing else."""
    shown, run = folder / SHOWN, folder / "run"
    shown.mkdir()
    (run / MUNGE_SOCKET).parent.mkdir(parents=True)
    return {REPOSITORY: shown, run: Path("/run")}


@pytest.fixture(scope="session")
def cluster(
    request: pytest.FixtureRequest,
    slurm_installed: None,  # noqa: F811
) -> Iterator[SlurmCluster]:
    """Its jobs see clone and munged where they look for them."""
    yield from cluster_of_session(request, mounts_in)
