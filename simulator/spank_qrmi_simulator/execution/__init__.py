# SPDX-License-Identifier: GPL-3.0-or-later
"""How quantum programs really run: processes that can be ended at any time, and what runs in them.

Only what runs in those processes may import Qiskit; the server itself never does.
"""
