# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of each QPU from round to round: since when, when asked last, what counts now."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from spank_qrmi.catalog.entries import CatalogEntry
from spank_qrmi.catalog.license_names import license_name_of
from spank_qrmi.monitor.observations import Observation, Round
from spank_qrmi.status import QpuState, QpuStatus


@dataclass(frozen=True)
class WatchedQpu:
    """One QPU after a round; times are Unix seconds.

    It has been in the state of `status` `since`; its service last answered at `answered_at`.
    `known` is the last status that was not unknown, seen last at `known_at`; None if there was
    none. One that is not watched has no credentials of the site's. `slots_of_others` is what the
    rule for its licences remembers; it was asked for `seconds`.
    """

    name: str
    types: tuple[str, ...]
    status: QpuStatus
    since: int
    answered_at: int | None = None
    known: QpuStatus | None = None
    known_at: int | None = None
    is_watched: bool = True
    slots_of_others: int | None = None
    seconds: float = 0.0
    uids: tuple[int, ...] | None = None
    gids: tuple[int, ...] | None = None

    @property
    def license_name(self) -> str:
        """The licence that stands for it."""
        return license_name_of(self.name)

    def status_in_force(self, now: int, grace_seconds: int) -> QpuStatus | None:
        """Return the status that decides about licences; None for leaving them as they are.

        What is unknown stays as it last was for `grace_seconds`; after that it is unknown.
        """
        if self.status.state is not QpuState.UNKNOWN:
            return self.status
        known_at = self.since if self.known_at is None else self.known_at
        return self.status if now - known_at >= grace_seconds else self.known

    def entry(self, total: int | None, withheld: int | None) -> CatalogEntry:
        """Return what the catalog tells of it, with its licences."""
        return CatalogEntry(
            *(self.name, self.types, self.status, self.since, self.answered_at),
            license_name=self.license_name,
            total_licenses=total,
            withheld_licenses=withheld,
            uids=self.uids,
            gids=self.gids,
        )


def after_round(former: Mapping[str, WatchedQpu], seen: Round, now: int) -> dict[str, WatchedQpu]:
    """Return what is known after a round at `now`; after one that failed, all are unknown."""
    if seen.failure:
        unknown = QpuStatus(QpuState.UNKNOWN, seen.failure)
        return {
            each.name: _after(each, Observation(each.name, each.types, unknown, False), now)
            for each in former.values()
        }
    return {each.name: _after(former.get(each.name), each, now) for each in seen.observations}


def _after(former: WatchedQpu | None, seen: Observation, now: int) -> WatchedQpu:
    is_known = seen.status.state is not QpuState.UNKNOWN
    qpu = WatchedQpu(
        *(seen.name, seen.types, seen.status, now),
        answered_at=now if seen.has_answered else None,
        known=seen.status if is_known else None,
        known_at=now if is_known else None,
        is_watched=seen.is_watched,
        seconds=seen.seconds,
        uids=seen.uids,
        gids=seen.gids,
    )
    if former is None:
        return qpu
    # A clock that was put back must not prolong anything.
    since, answered_at, known_at = (
        None if each is None else min(each, now)
        for each in (former.since, former.answered_at, former.known_at)
    )
    if former.status.state is seen.status.state and since is not None:
        qpu = replace(qpu, since=since)
    if not seen.has_answered:
        qpu = replace(qpu, answered_at=answered_at)
    if not is_known:
        qpu = replace(qpu, known=former.known, known_at=known_at)
    return replace(qpu, slots_of_others=former.slots_of_others)
