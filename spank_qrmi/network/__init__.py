# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that asks the network without root, and the seam that leads to it."""
