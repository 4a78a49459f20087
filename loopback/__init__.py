# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Slurm cluster on one machine's loopback, for tests, the demo and benchmarks."""
