# SPDX-License-Identifier: GPL-3.0-or-later
"""The end-to-end ring runs on a cluster, installation and site as the Slurm ring has them."""

from tests.slurm.conftest import (
    _leaks,
    _leave_cluster_clean,
    _leave_no_secret,
    _site_process,
    cluster,
    installation,
    product,
    qrun_product,
    site,
    slurm_installed,
)

# pytest finds fixtures by their names in this module.
__all__ = [
    "_leaks",
    "_leave_cluster_clean",
    "_leave_no_secret",
    "_site_process",
    "cluster",
    "installation",
    "product",
    "qrun_product",
    "site",
    "slurm_installed",
]
