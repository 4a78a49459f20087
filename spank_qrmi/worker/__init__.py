# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that a plugin has for one request, as root, and the server that has one ready."""

from spank_qrmi.worker.process import main

# By this name a plugin of an earlier release starts it, which a running step may have loaded.
__all__ = ["main"]
