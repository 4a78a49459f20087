# SPDX-License-Identifier: GPL-3.0-or-later
"""A short soak, always the same: what `make soak` does for longer."""

from pathlib import Path

from loopback.cluster import SlurmCluster
from loopback.installation import Installation
from loopback.site import Site
from loopback.soak import Soak
from loopback.soak_plan import plan_soak


def test_short_soak(cluster_folder: Path, installation: Installation):
    jobs = 30
    with (
        SlurmCluster(cluster_folder / "cluster") as cluster,
        Site(cluster_folder, munge_socket=cluster.munge_socket) as site,
    ):
        soak = Soak(cluster, site, installation, cluster_folder)
        result = soak.run(plan_soak(jobs, seed=7, is_quick=True))

    assert result.problems() == []
    assert (result.submitted, result.cancelled_at_end) == (jobs, 0)
    assert result.sessions
