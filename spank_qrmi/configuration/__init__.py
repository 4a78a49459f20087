# SPDX-License-Identifier: GPL-3.0-or-later
"""What an administrator has written: arguments in plugstack.conf, and the files that they name."""
