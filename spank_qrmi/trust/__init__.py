# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose code and files root believes, and how it gives up being root."""
