# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m spank_qrmi.worker`: how a plugin starts its worker."""

from spank_qrmi.worker.process import main

main()
