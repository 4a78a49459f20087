# SPDX-License-Identifier: GPL-3.0-or-later
"""Minimal systems of Debian and Ubuntu in folders, made from nothing, and commands inside them."""
