# SPDX-License-Identifier: GPL-3.0-or-later
"""QPUs for Slurm jobs: the SPANK plugins, their worker and its vendor clients."""

__version__ = "0.1.0"
