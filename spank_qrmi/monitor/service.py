# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor's rounds: ask, remember, keep licences in step, and tell all who want to know."""

import logging
import random
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from spank_qrmi.catalog.entries import Catalog, CatalogEntry
from spank_qrmi.errors import QrmiError
from spank_qrmi.monitor.license_keeper import Kept, LicenseCount, LicenseKeeper
from spank_qrmi.monitor.memory import Memory
from spank_qrmi.monitor.news import News
from spank_qrmi.monitor.observations import Round
from spank_qrmi.monitor.watched import WatchedQpu, after_round
from spank_qrmi.status import QpuState

log = logging.getLogger(__name__)

# So that monitors of several clusters do not ask at the same moment.
_JITTER = 0.1


@dataclass(frozen=True)
class RoundReport:
    """What a round has come to, for those who tell it; `at` and `valid_until` are Unix seconds.

    `licenses` are by QPU, of those whose licence slurmctld has. `failure` says why nothing could be
    asked; empty if it could.
    """

    at: int
    valid_until: int
    qpus: Mapping[str, WatchedQpu]
    licenses: Mapping[str, LicenseCount] = field(default_factory=dict)
    failure: str = ""

    @property
    def seconds(self) -> dict[str, float]:
        """How long each QPU was asked, of those that were."""
        return {} if self.failure else {each.name: each.seconds for each in self.qpus.values()}

    @property
    def catalog(self) -> Catalog:
        """What everybody may know of the QPUs."""
        return Catalog(self.at, self.valid_until, tuple(map(self._entry, self.qpus.values())))

    def _entry(self, qpu: WatchedQpu) -> CatalogEntry:
        count = self.licenses.get(qpu.name)
        return qpu.entry(
            None if count is None else count.total, None if count is None else count.withheld
        )


Teller = Callable[[RoundReport], None]
"""Tells others what a round has come to, as by the catalog or metrics. Raises QrmiError."""


class Monitor:
    """Does rounds; `ask` has all QPUs asked, in a process of its own.

    `licenses` None: jobs are not made to wait.
    """

    def __init__(
        self,
        ask: Callable[[], Round],
        memory: Memory,
        licenses: LicenseKeeper | None,
        tellers: Iterable[Teller],
        *,
        interval_seconds: int,
        grace_seconds: int,
    ) -> None:
        self._ask = ask
        self._memory = memory
        self._licenses = licenses
        self._tellers = tuple(tellers)
        self._interval_seconds = interval_seconds
        self._valid_seconds = interval_seconds + grace_seconds
        self._news = News(log)
        self._qpus = memory.load()

    def do_round(self) -> bool:
        """Do one round; return whether the QPUs could be asked, licences kept, and all was told."""
        seen = self._ask()
        now = int(time.time())
        former, self._qpus = self._qpus, after_round(self._qpus, seen, now)
        kept = Kept(self._qpus)
        with self._news.of_one_round():
            for line in seen.problems:
                self._news.tell(logging.WARNING, line)
            if seen.failure:
                self._news.tell(logging.ERROR, f"no QPU could be asked: {seen.failure}")
            for qpu in self._qpus.values():
                _log_change(former.get(qpu.name), qpu)
            if self._licenses is not None:
                kept = self._licenses.keep(self._qpus, now)
            self._qpus = kept.qpus
            self._memory.save(self._qpus)
            until = now + self._valid_seconds
            report = RoundReport(now, until, self._qpus, kept.counts, seen.failure)
            told = [self._tell(teller, report) for teller in self._tellers]
        return not seen.failure and kept.is_in_step and all(told)

    def run(self) -> NoReturn:
        """Do rounds for ever."""
        while True:
            began_at = time.monotonic()
            self.do_round()
            pause = self._interval_seconds * random.uniform(1 - _JITTER, 1 + _JITTER)
            time.sleep(max(0.0, began_at + pause - time.monotonic()))

    def _tell(self, teller: Teller, report: RoundReport) -> bool:
        try:
            teller(report)
        except QrmiError as error:
            self._news.tell(logging.ERROR, str(error))
            return False
        return True


class _EndError(BaseException):
    """The monitor was told to end; no handler of errors takes it for one."""


def until_told_to_end(work: Callable[[], int]) -> int:
    """Return what `work` does, 0 if SIGTERM or SIGINT ends it."""

    def end(*_: object) -> NoReturn:
        raise _EndError

    former = {each: signal.signal(each, end) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        return work()
    except _EndError:
        return 0
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)


def _log_change(former: WatchedQpu | None, qpu: WatchedQpu) -> None:
    # What is online at the start is no news.
    before = QpuState.ONLINE if former is None else former.status.state
    if qpu.status.state is not before:
        was = "" if former is None else f", {before.value} before"
        reason = f": {qpu.status.text}" if qpu.status.text else ""
        log.info("%s: %s%s%s", qpu.name, qpu.status.state.value, was, reason)
