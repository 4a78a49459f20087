# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog of QPUs: the monitor publishes it as root, everybody reads it. It has no secret."""
