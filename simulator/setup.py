# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated site has the version of the plugins that it is released with."""

import re
from pathlib import Path

from setuptools import setup

PRODUCT = Path(__file__).resolve().parents[1] / "spank_qrmi" / "__init__.py"
[VERSION] = re.findall(r'^__version__ = "(.+)"$', PRODUCT.read_text(encoding="utf-8"), re.MULTILINE)
setup(version=VERSION)
