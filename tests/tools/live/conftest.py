# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools that start a Slurm are tried on one, as the Slurm ring has it."""

from tests.slurm.conftest import (  # noqa: F401 (pytest finds fixtures by their names in this module)
    _leaks,
    _leave_cluster_clean,
    _leave_no_secret,
    cluster,
    cluster_folder,
    installation,
    slurm_installed,
)
