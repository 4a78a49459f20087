# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: what the plugin costs a job, beside an empty C plugin and beside none."""
