# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping the licences of all QPUs in step with what these may give, and saying what changed.

slurmctld is asked twice a round at most, and told only what changed.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from spank_qrmi.errors import SlurmError
from spank_qrmi.monitor.licenses import License, WayToWithhold
from spank_qrmi.monitor.news import News
from spank_qrmi.monitor.observations import Observation
from spank_qrmi.monitor.watched import WatchedQpu
from spank_qrmi.monitor.withholding import licenses_to_withhold
from spank_qrmi.status import QpuStatus
from spank_qrmi.trust.slurm_commands import SlurmTimeoutError

log = logging.getLogger(__name__)

_MOST_NAMED = 10


@dataclass(frozen=True)
class LicenseCount:
    """How many licences of a QPU there are, and are withheld."""

    total: int
    withheld: int


@dataclass(frozen=True)
class Kept:
    """The QPUs with what the rule remembers, and the licences of those that have some, by QPU.

    `is_in_step` unless slurmctld did not answer or refused something.
    """

    qpus: dict[str, WatchedQpu]
    counts: dict[str, LicenseCount] = field(default_factory=dict)
    is_in_step: bool = True


class LicenseKeeper:
    """Withholds licences in one way, round after round."""

    def __init__(self, way: WayToWithhold, grace_seconds: int) -> None:
        self._way = way
        self._grace_seconds = grace_seconds
        self._news = News(log)

    def keep(self, qpus: Mapping[str, WatchedQpu], now: int) -> Kept:
        """Bring licences in step with the QPUs.

        What slurmctld does not do is told, and tried again in the next round.
        """
        with self._news.of_one_round():
            try:
                licenses = self._way.read()
            except SlurmError as error:
                self._news.tell(logging.ERROR, f"licences stay as they are: {error}")
                return Kept(dict(qpus), is_in_step=False)
            self._tell_missing(qpus.values(), licenses)
            self._tell_left(qpus.values(), licenses)
            return self._bring_in_step(qpus, licenses, now)

    def _bring_in_step(
        self, qpus: Mapping[str, WatchedQpu], licenses: Mapping[str, License], now: int
    ) -> Kept:
        ambiguous = self._tell_ambiguous(qpus.values())
        kept = Kept(dict(qpus))
        answers = True
        for name, qpu in qpus.items():
            known = licenses.get(qpu.license_name)
            if known is None or qpu.license_name in ambiguous:
                continue
            count, kept.qpus[name] = self._wanted(qpu, known, now)
            try:
                if answers and (count != known.withheld or known.is_due):
                    self._withhold(qpu, count, known)
                    known = replace(known, withheld=count)
            except SlurmError as error:
                kept = replace(kept, is_in_step=False)
                self._news.tell(logging.ERROR, f"{name}: licences stay as they are: {error}")
                # The others would take as long.
                answers = not isinstance(error, SlurmTimeoutError)
            kept.counts[name] = LicenseCount(known.total, known.withheld)
        return kept

    def _wanted(self, qpu: WatchedQpu, known: License, now: int) -> tuple[int, WatchedQpu]:
        """Return how many licences to withhold, and the QPU with what the rule remembers."""
        status = qpu.status_in_force(now, self._grace_seconds) if qpu.is_watched else None
        if status is None:
            # Users bring the credentials of one that is not watched: only they know.
            return known.withheld if qpu.is_watched else 0, qpu
        withheld = licenses_to_withhold(status, known.total, known.used, qpu.slots_of_others)
        if withheld.count > known.most_withheld:
            self._news.tell(
                logging.WARNING,
                f"{qpu.name}: of {known.total} licences {qpu.license_name} only "
                f"{known.most_withheld} can be withheld, {withheld.count} should be: other "
                "reservations have them",
            )
        count = min(withheld.count, known.most_withheld)
        return count, replace(qpu, slots_of_others=withheld.slots_of_others)

    def _withhold(self, qpu: WatchedQpu, count: int, known: License) -> None:
        self._way.withhold(qpu.license_name, count)
        if count != known.withheld:
            reason = _reason_of(qpu.status)
            log.info(
                "%s: %d of %d licences %s withheld, %d before: %s",
                *(qpu.name, count, known.total, qpu.license_name, known.withheld, reason),
            )

    def _tell_missing(self, qpus: Iterable[WatchedQpu], licenses: Mapping[str, License]) -> None:
        missing = sorted({each.license_name for each in qpus} - licenses.keys())
        if missing:
            more = len(missing) - _MOST_NAMED
            names = ", ".join(missing[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
            self._news.tell(
                logging.ERROR,
                f"slurmctld has no licences {names}: nothing makes jobs wait for these QPUs; "
                "spank-qrmi monitor --print-licenses prints what to add",
            )

    def _tell_left(self, qpus: Iterable[WatchedQpu], licenses: Mapping[str, License]) -> None:
        known = {each.license_name for each in qpus}
        for name, found in licenses.items():
            if found.withheld and name not in known:
                self._news.tell(
                    logging.WARNING,
                    f"{found.withheld} licences {name} stay withheld, of a QPU that is not in the "
                    "configuration: spank-qrmi monitor --release-all gives back all",
                )

    def _tell_ambiguous(self, qpus: Iterable[WatchedQpu]) -> set[str]:
        found = ambiguous_licenses(qpus)
        for license_name, names in found.items():
            self._news.tell(logging.ERROR, ambiguity_text(license_name, names))
        return set(found)


def ambiguous_licenses(qpus: Iterable[WatchedQpu | Observation]) -> dict[str, list[str]]:
    """Return each licence that stands for several QPUs, with their names."""
    names: dict[str, list[str]] = {}
    for qpu in qpus:
        names.setdefault(qpu.license_name, []).append(qpu.name)
    return {license_name: found for license_name, found in names.items() if len(found) > 1}


def ambiguity_text(license_name: str, names: Iterable[str]) -> str:
    """Return what to tell of a licence that stands for several QPUs."""
    return (
        f"{' and '.join(names)} would have the same licence {license_name}, which stays as it is: "
        "rename all but one"
    )


def _reason_of(status: QpuStatus) -> str:
    return f"{status.state.value}: {status.text}" if status.text else status.state.value
