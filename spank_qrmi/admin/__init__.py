# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `spank-qrmi`: runs as whoever calls it, root for all that looks at the node."""
