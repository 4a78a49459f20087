# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus is told of a node: what it holds, how that went, and how old its tokens are.

There is nothing of users, jobs or services in it: `spank-qrmi status` says more to root.
"""

import time
from collections import Counter
from collections.abc import Sequence
from itertools import product

from spank_qrmi.admin.inventory import STATES, state_of
from spank_qrmi.monitor.exposition import Metric, Samples
from spank_qrmi.state.counts import Event, read_counts
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.orphans import is_orphaned
from spank_qrmi.state.owner import is_elsewhere
from spank_qrmi.state.token_cache import TokenCache
from spank_qrmi.trust.files import StrPath

_ENDPOINTS = {False: "site", True: "user"}
_STEPS = {False: "alive", True: "gone"}
_HOLD_LABELS = ("state", "step", "endpoint")


def metrics_of_node(state_directory: StrPath) -> list[Metric]:
    """Return the metrics of this node; raise JournalError or ConfigError if one cannot be had."""
    found = list(Journal(state_directory).entries())
    entries = [each for each in found if isinstance(each, Entry) and _is_ours(each)]
    unreadable_count = sum(not isinstance(each, Entry) for each in found)
    return [
        *_metrics_of_holds(entries, unreadable_count),
        *_metrics_of_tokens(TokenCache(state_directory).ages_in_seconds(), int(time.time())),
        *_metrics_of_counts(read_counts(state_directory)),
    ]


def _is_ours(entry: Entry) -> bool:
    """Return whether no other node that shares the folder tells of it."""
    return entry.owner is None or not is_elsewhere(entry.owner)


def _kind_of(entry: Entry) -> tuple[str, ...]:
    """Return the labels of an entry; what is at a user's endpoint is his to look after."""
    return state_of(entry), _STEPS[is_orphaned(entry)], _ENDPOINTS[entry.has_users_endpoint]


def _metrics_of_holds(entries: Sequence[Entry], unreadable_count: int) -> list[Metric]:
    kinds = [_kind_of(entry) for entry in entries]
    counts = Counter(kinds)
    oldest: dict[tuple[str, ...], int] = {}
    for kind, entry in zip(kinds, entries, strict=True):
        if entry.acquired_at is not None:
            oldest[kind] = min(entry.acquired_at, oldest.get(kind, entry.acquired_at))
    return [
        Metric(
            "spank_qrmi_node_holds",
            "How many acquisitions the node's journal has, as spank-qrmi status calls their state.",
            _HOLD_LABELS,
            {kind: counts[kind] for kind in product(STATES, _STEPS.values(), _ENDPOINTS.values())},
        ),
        Metric(
            "spank_qrmi_node_oldest_hold_timestamp_seconds",
            "When the oldest of them was acquired, in Unix time.",
            _HOLD_LABELS,
            oldest,
        ),
        Metric(
            "spank_qrmi_node_kept_release_failures",
            "How many releases have failed of what is still held.",
            samples={(): sum(entry.failures for entry in entries if entry.token is not None)},
        ),
        Metric(
            "spank_qrmi_node_unreadable_entries",
            "How many files of the journal are no entries.",
            samples={(): unreadable_count},
        ),
    ]


def _metrics_of_tokens(ages_in_seconds: Sequence[int], now: int) -> list[Metric]:
    oldest: Samples = {(): now - max(ages_in_seconds)} if ages_in_seconds else {}
    return [
        Metric(
            "spank_qrmi_node_tokens",
            "How many access tokens the node has that may still be used.",
            samples={(): len(ages_in_seconds)},
        ),
        Metric(
            "spank_qrmi_node_oldest_token_timestamp_seconds",
            "When the oldest of them was fetched, in Unix time.",
            samples=oldest,
        ),
    ]


def _metrics_of_counts(counts: dict[Event, int]) -> list[Metric]:
    def of(*events: Event) -> Samples:
        return {(event.value,): counts[event] for event in events}

    return [
        Metric(
            "spank_qrmi_node_acquisitions_total",
            "How many QPUs jobs have asked for, by what became of it.",
            ("result",),
            of(Event.ACQUIRED, Event.REFUSED),
        ),
        Metric(
            "spank_qrmi_node_releases_total",
            "How often a release was tried, by what became of it; what is kept is tried again.",
            ("result",),
            of(Event.RELEASED, Event.KEPT),
        ),
    ]
