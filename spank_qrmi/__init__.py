# SPDX-License-Identifier: GPL-3.0-or-later
"""QPUs for Slurm jobs: the SPANK plugins, their worker and its vendor clients."""

import logging

__version__ = "1.0.0"

# What nobody listens to is printed nowhere.
logging.getLogger(__name__).addHandler(logging.NullHandler())
