# SPDX-License-Identifier: GPL-3.0-or-later
"""The ring of the simulated site."""

from tests.simulated_site import base_url, site

# pytest finds fixtures by their names in this module.
__all__ = ["base_url", "site"]
