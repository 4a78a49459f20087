# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `qrun`: runs one primitive input on a backend of IBM Direct Access."""
