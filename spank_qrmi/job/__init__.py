# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done for a job, decided as root in the worker; it asks nobody itself."""
