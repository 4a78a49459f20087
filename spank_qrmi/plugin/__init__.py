# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugins that Slurm loads: Cython sources and, in a built wheel, their shared libraries."""
