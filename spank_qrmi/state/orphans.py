# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entries of the journal no living step holds, which of these are tried now, in which order.

Many users' entries are tried together: nobody's, and no service's, keep the others waiting.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from spank_qrmi.at_once import Shares
from spank_qrmi.clients import CLIENTS
from spank_qrmi.state.journal import Entry
from spank_qrmi.state.owner import is_gone

RETRY_SECONDS = 300
"""How long what could not be released is left alone after the first failure; then twice as long."""

LONGEST_RETRY_SECONDS = 6 * 3600
LONGEST_RETRY_OF_SITE_SECONDS = 1800
"""At a site's endpoint, somebody pays for what is open there until it is tried again."""

_MOST_RETRIED_AT_ONCE = 32
# Of the threads, which are 64. A user may have entries at several services.
_MOST_OF_USER = 16
_MOST_OF_ENDPOINT = 8


def is_orphaned(entry: Entry) -> bool:
    """Return whether the step that acquired has ended; one whose owner is not known counts not."""
    return entry.owner is not None and is_gone(entry.owner)


def is_being_acquired(entry: Entry) -> bool:
    """Return whether a living step may still be told the token."""
    if not entry.is_held:
        return False
    is_alive = entry.owner is not None and not is_gone(entry.owner)
    return is_alive and entry.token is None and not entry.failure


def is_due(entry: Entry, now: float) -> bool:
    """Return whether to try an entry that may have failed before, `now` in Unix seconds."""
    if entry.failed_at is None or now < entry.failed_at:
        return True
    longest = LONGEST_RETRY_SECONDS if entry.has_users_endpoint else LONGEST_RETRY_OF_SITE_SECONDS
    doublings = min(max(0, entry.failures - 1), LONGEST_RETRY_SECONDS.bit_length())
    due_at = entry.failed_at + min(RETRY_SECONDS << doublings, longest)
    if entry.ends_at is not None and entry.ends_at > entry.failed_at:
        due_at = min(due_at, entry.ends_at)
    return now >= due_at


def select_orphans(entries: Iterable[Entry], now: float) -> list[Entry]:
    """Return what no living step holds and something can be done about, `now` in Unix seconds."""
    return [
        entry
        for entry in entries
        # What is over waits for its record alone.
        if not entry.is_over
        if (entry.needs_release or entry.has_ended(now) or entry.is_given_up(now))
        and is_orphaned(entry)
    ]


def select_orphans_to_retry(entries: Iterable[Entry], now: float) -> list[Entry]:
    """Return the orphans that the end of another job may try again, each user's share of them."""
    chosen = []
    taken: Counter[object] = Counter()
    due = (entry for entry in entries if is_due(entry, now))
    for entry in in_fair_order(select_orphans(due, now)):
        shares = shares_of(entry)
        if all(taken[whose] < most for whose, most in shares.items()):
            taken.update(shares.keys())
            chosen.append(entry)
    return chosen[:_MOST_RETRIED_AT_ONCE]


def in_fair_order(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries of the site's endpoints first, and of each kind one of each user in turn.

    A user's own are in this order: never tried, then those that were not tried for longest.
    """
    ordered = sorted(entries, key=lambda entry: (entry.failed_at is not None, entry.failed_at or 0))
    turns: Counter[tuple[bool, int]] = Counter()
    placed = []
    for entry in ordered:
        whose = (entry.has_users_endpoint, entry.uid)
        placed.append((entry.has_users_endpoint, turns[whose], entry))
        turns[whose] += 1
    placed.sort(key=lambda place: place[:2])
    return [entry for *_, entry in placed]


def shares_of(entry: Entry) -> Shares:
    """Return how many of its user's and of its endpoint's may be tried at once."""
    keys: Sequence[str] = ()
    if entry.resource_type in CLIENTS:
        keys = tuple(CLIENTS[entry.resource_type].sent_to)
    endpoint = (entry.resource_type, *(entry.values.get(key) for key in keys))
    return {("user", entry.uid): _MOST_OF_USER, endpoint: _MOST_OF_ENDPOINT}
