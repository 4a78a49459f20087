# SPDX-License-Identifier: GPL-3.0-or-later
"""What the node holds, on disk: acquisitions and access tokens."""
