# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated QPU site: one HTTP server that speaks the vendors' APIs, for tests and for people."""
