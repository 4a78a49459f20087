# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m spank_qrmi.qrun` is the command `qrun`."""

import sys

from spank_qrmi.qrun.command import main

sys.exit(main())
