# SPDX-License-Identifier: GPL-3.0-or-later
"""Rounds: what is asked is remembered, kept in step and told; nothing ends them but a signal."""

import contextlib
import gc
import logging
import os
import signal
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import Mock

import pytest

from spank_qrmi.catalog.entries import CatalogEntry
from spank_qrmi.catalog.files import publish
from spank_qrmi.errors import ConfigError
from spank_qrmi.monitor import service
from spank_qrmi.monitor.license_keeper import LicenseCount, LicenseKeeper
from spank_qrmi.monitor.memory import Memory, locked_memory
from spank_qrmi.monitor.metrics import write_metrics
from spank_qrmi.monitor.observations import Observation, Round
from spank_qrmi.monitor.reservations import Reservations
from spank_qrmi.monitor.round_process import run_in_process
from spank_qrmi.monitor.service import Monitor, RoundReport, until_told_to_end
from spank_qrmi.status import QpuState, QpuStatus
from spank_qrmi.trust.slurm_commands import SlurmCommands
from tests.unit.fake_scontrol import FakeScontrol

ONLINE = QpuStatus(QpuState.ONLINE, "fine")
PAUSED = QpuStatus(QpuState.PAUSED, "maintenance")
SILENT = QpuStatus(QpuState.UNKNOWN, "no answer")
INTERVAL, GRACE = 30, 90
MANY_ROUNDS = 12


class Rounds:
    """A monitor whose rounds see what a test says, at the time that it says."""

    def __init__(self, memory: Memory, commands: SlurmCommands) -> None:
        self.seen = Round()
        self.now = 1000
        self.reports: list[RoundReport] = []
        self._commands = commands
        self._memory = memory
        self.start()

    def start(self) -> None:
        """Start the monitor, again."""
        self._monitor = Monitor(
            lambda: self.seen,
            self._memory,
            LicenseKeeper(Reservations(self._commands), GRACE),
            [self.reports.append],
            interval_seconds=INTERVAL,
            grace_seconds=GRACE,
        )

    def do(
        self, *statuses: QpuStatus, after: int = 0, failure: str = "", problems: Sequence[str] = ()
    ) -> bool:
        """Do a round some seconds later."""
        self.now += after
        seen = (
            Observation(name, ("t",), status, status is not SILENT, seconds=0.5)
            for name, status in zip("abc", statuses, strict=False)
        )
        self.seen = Round(tuple(seen), tuple(problems), failure)
        return self._monitor.do_round()


@pytest.fixture
def rounds(
    tmp_path: Path, commands: SlurmCommands, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> Iterator[Rounds]:
    with locked_memory(tmp_path / "state") as memory:
        rounds = Rounds(memory, commands)
        monkeypatch.setattr(service.time, "time", lambda: rounds.now + 0.5)
        yield rounds


def test_report_is_what_the_round_has_come_to(rounds: Rounds, scontrol: FakeScontrol) -> None:
    scontrol.add("qpu_a", 2)
    assert rounds.do(PAUSED, ONLINE)
    [report] = rounds.reports
    assert (report.at, report.valid_until) == (1000, 1000 + INTERVAL + GRACE)
    assert report.licenses == {"a": LicenseCount(2, 2)}
    assert report.qpus["b"].seconds == 0.5
    assert report.catalog.as_of == 1000
    assert report.catalog.entries == (
        CatalogEntry("a", ("t",), PAUSED, 1000, 1000, "qpu_a", 2, 2),
        CatalogEntry("b", ("t",), ONLINE, 1000, 1000, "qpu_b"),
    )


def test_service_that_is_gone_closes_after_the_grace(
    rounds: Rounds, scontrol: FakeScontrol
) -> None:
    """No restart prolongs that."""
    scontrol.add("qpu_a", 2)
    rounds.do(ONLINE)
    for reservations in ({}, {}, {"spank_qrmi_qpu_a": "qpu_a:2"}):
        rounds.start()
        rounds.do(SILENT, after=31)
        assert scontrol.reservations() == reservations
    # Nor is it forgotten since when.
    assert rounds.reports[-1].catalog.entries[0].since == 1031
    rounds.do(ONLINE, after=1)
    assert scontrol.reservations() == {}


def test_configuration_that_is_gone_closes_after_the_grace(
    rounds: Rounds, scontrol: FakeScontrol, lines: list[str]
) -> None:
    scontrol.add("qpu_a", 2)
    rounds.do(ONLINE)
    lines.clear()
    for _ in range(2):
        assert not rounds.do(failure="cannot be read", after=GRACE)
    assert scontrol.reservations() == {"spank_qrmi_qpu_a": "qpu_a:2"}
    assert rounds.reports[-1].failure == "cannot be read"
    assert [line for line in lines if "cannot be read" in line] == [
        "no QPU could be asked: cannot be read",
        "a: unknown, online before: cannot be read",
        "a: 2 of 2 licences qpu_a withheld, 0 before: unknown: cannot be read",
    ]


def test_news_is_told_once(rounds: Rounds, scontrol: FakeScontrol, lines: list[str]) -> None:
    for name in "ab":
        scontrol.add(f"qpu_{name}", 1)
    for status in (ONLINE, ONLINE, PAUSED):
        assert rounds.do(status, PAUSED, problems=("bad entry", "bad entry"))
    # A problem that has been gone is news.
    rounds.do(PAUSED, PAUSED)
    rounds.do(PAUSED, PAUSED, problems=("bad entry",))
    assert [line for line in lines if "licences" not in line] == [
        "bad entry",
        "b: paused: maintenance",
        "a: paused, online before: maintenance",
        "bad entry",
    ]


def test_many_rounds_leave_nothing_behind(
    rounds: Rounds, scontrol: FakeScontrol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept_by_process() -> Counter[str]:
        found = Counter(Path("/proc/thread-self/children").read_text().split())
        for link in Path("/proc/self/fd").iterdir():
            # The listing's own descriptor.
            with contextlib.suppress(FileNotFoundError):
                found[str(link.readlink())] += 1
        return found + Counter(str(path) for path in tmp_path.rglob("*"))

    # pytest keeps what is logged.
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    scontrol.add("qpu_a", 2)
    published = tmp_path / "published"
    published.mkdir()
    rounds._monitor._ask = lambda: run_in_process(lambda _: rounds.seen, 60)
    rounds._monitor._tellers = (
        lambda told: publish(told.catalog, published),
        lambda told: write_metrics(told.catalog, told.seconds, tmp_path / "qpus.prom"),
    )
    ours = tracemalloc.Filter(inclusive=True, filename_pattern="*/spank_qrmi/*")
    found = []
    tracemalloc.start()
    try:
        for _ in range(1 + MANY_ROUNDS // 2):
            for status in (PAUSED, ONLINE):
                assert rounds.do(status, SILENT)
            gc.collect()
            objects = tracemalloc.take_snapshot().filter_traces([ours]).traces
            found.append((kept_by_process(), len(objects)))
    finally:
        tracemalloc.stop()
    (first, first_count), *_, (last, last_count) = found
    # What other tests have started may end meanwhile, and the first rounds fill caches.
    assert last - first == Counter()
    assert last_count - first_count < MANY_ROUNDS, [each[1] for each in found]


def test_round_that_cannot_do_all_is_no_success(
    rounds: Rounds, scontrol: FakeScontrol, lines: list[str]
) -> None:
    fail = Mock(side_effect=ConfigError("disk is full"))
    rounds._monitor._tellers = (fail, rounds.reports.append)
    for _ in range(2):
        assert not rounds.do()
    assert (len(rounds.reports), lines) == (2, ["disk is full"])
    rounds._monitor._tellers = (rounds.reports.append,)
    scontrol.order("show", "Unable to contact slurm controller")
    assert not rounds.do(ONLINE)
    assert rounds.reports[-1].licenses == {}


def test_pause_is_about_the_interval(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = Mock(side_effect=[*[None] * 49, KeyboardInterrupt])
    monkeypatch.setattr(service.time, "sleep", sleep)
    monkeypatch.setattr(service.time, "monotonic", lambda: 5.0)
    monkeypatch.setattr(rounds._monitor, "do_round", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        rounds._monitor.run()
    pauses = [call.args[0] for call in sleep.call_args_list]
    assert INTERVAL * 0.9 <= min(pauses) < max(pauses) <= INTERVAL * 1.1


def test_signal_ends_at_once() -> None:
    def work() -> int:
        os.kill(os.getpid(), told)
        time.sleep(600)
        return 1

    for told in (signal.SIGTERM, signal.SIGINT):
        former = signal.getsignal(told)
        assert until_told_to_end(work) == 0
        assert signal.getsignal(told) is former
    assert until_told_to_end(lambda: 1) == 1
