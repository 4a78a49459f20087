# SPDX-License-Identifier: GPL-3.0-or-later
"""`make test-slurm-matrix`: build and test on other releases of Slurm and Python, in roots."""
