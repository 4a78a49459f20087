# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor, root on one node: what each QPU may give now, told to slurmctld and to everybody.

It decides, and asks no vendor: a process without root does, as for a job.
"""
