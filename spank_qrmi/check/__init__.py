# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a QPU job work on this node, looked at before a job needs it; nothing is changed.

A check is a function that takes the node and yields findings; a new one is one function and one
line in `all_checks`.
"""
