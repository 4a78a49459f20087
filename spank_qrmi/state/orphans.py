# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entries of the journal no living step holds, and which of these are to be released now."""

from collections.abc import Iterable

from spank_qrmi.state.journal import Entry
from spank_qrmi.state.owner import is_gone

RETRY_SECONDS = 300
"""How long a job's end leaves alone what another job's could not be released."""

_MOST_RETRIED_AT_ONCE = 32


def is_orphaned(entry: Entry) -> bool:
    """Return whether the step that acquired has ended; one whose owner is not known counts not."""
    return entry.owner is not None and is_gone(entry.owner)


def is_being_acquired(entry: Entry) -> bool:
    """Return whether a living step may still be told the token."""
    is_alive = entry.owner is not None and not is_gone(entry.owner)
    return is_alive and entry.token is None and not entry.failure


def select_orphans(entries: Iterable[Entry], now: float) -> list[Entry]:
    """Return what no living step holds and something can be done about, `now` in Unix seconds."""
    return [
        entry
        for entry in entries
        if (entry.needs_release or entry.has_ended(now)) and is_orphaned(entry)
    ]


def select_orphans_to_retry(entries: Iterable[Entry], now: float) -> list[Entry]:
    """Return the orphans that the end of another job may try again."""
    due = (
        entry
        for entry in entries
        if entry.failed_at is None or not 0 <= now - entry.failed_at < RETRY_SECONDS
    )
    return select_orphans(due, now)[:_MOST_RETRIED_AT_ONCE]
