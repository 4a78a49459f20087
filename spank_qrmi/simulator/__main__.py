# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry of `python -m spank_qrmi.simulator`; the work is done in `server`."""

from spank_qrmi.simulator.server import main

main()
