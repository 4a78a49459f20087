# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m spank_qrmi` is the command `spank-qrmi`."""

import sys

from spank_qrmi.admin.command import main

sys.exit(main())
