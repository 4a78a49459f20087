# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m spank_qrmi_simulator`, the same program as `spank-qrmi simulate`."""

import sys

from spank_qrmi_simulator.command import main

sys.exit(main())
