# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing a quantum job whose submission was cut off: it may reach the service a little later."""

from collections.abc import Callable

from spank_qrmi.deadline import Deadline

LATE_SUBMISSION_SECONDS = 3.0
"""How long a request whose sender was killed, or whose response was lost, may be on its way."""

LATE_SUBMISSION_POLL_SECONDS = 0.5


def remove_once_there(remove: Callable[[], bool], last_arrival: Deadline) -> bool:
    """Remove a job that is there, or arrives in time; return whether there was one.

    `remove` tries to, and returns whether it was there.
    """
    while not remove():
        if not last_arrival.wait(LATE_SUBMISSION_POLL_SECONDS):
            return False
    return True
