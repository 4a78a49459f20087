# SPDX-License-Identifier: GPL-3.0-or-later
"""What `…_TIMEOUT_SECONDS` variables tell of a job's time limit."""

UNLIMITED_SECONDS = 0xFFFFFFFF
"""Of a job without one, to QRMI's clients and qrun alike: the largest 32-bit number."""


def timeout_seconds_of_job(time_limit_minutes: int | None, *longest_seconds: int | None) -> int:
    """Return the time limit in seconds, at most each of `longest_seconds` and UNLIMITED_SECONDS."""
    seconds = None if time_limit_minutes is None else time_limit_minutes * 60
    limits = (seconds, *longest_seconds, UNLIMITED_SECONDS)
    return min(each for each in limits if each is not None)
