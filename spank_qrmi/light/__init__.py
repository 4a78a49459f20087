# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for what a job needs of standard modules that take long to import."""
