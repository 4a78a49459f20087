# SPDX-License-Identifier: GPL-3.0-or-later
"""Acquiring with clients that do as told: at once, each for itself, nothing lost."""

import os
import queue
import threading
from dataclasses import dataclass, replace
from itertools import chain, repeat
from unittest.mock import Mock

import pytest

from loopback.waiting import wait_until
from spank_qrmi import at_once
from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import (
    AcquisitionError,
    JournalError,
    QrmiError,
    ReleaseError,
    ServiceError,
)
from spank_qrmi.job.acquirer import Acquired, Acquirer
from spank_qrmi.job.environment import ResourceVariables
from spank_qrmi.protocol import Request, Verb
from spank_qrmi.state.counts import Event, read_counts
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.owner import owner_of
from tests.unit.fake_vendor import HOLD_SECONDS, TYPE, FakeVendor, Order
from tests.unit.job.job_node import NOW, entries_in
from tests.unit.local_network import LocalNetwork

PROXY = {"https_proxy": "http://proxy"}
REQUEST = Request(Verb.ACQUIRE, 7, 1, 0xFFFFFFFB, 1000, 60, time_limit_minutes=1)
VALUES = {"QRMI_KEY": "secret"}
TOGETHER_SECONDS = 60

pytestmark = pytest.mark.usefixtures("clock")


@dataclass
class Step:
    """A step that acquires, and what its vendor and its journal know of it."""

    vendor: FakeVendor
    journal: Journal
    deadline: Deadline

    def outcomes(
        self, names: str, variables: ResourceVariables | None = None
    ) -> list[Acquired | QrmiError]:
        acquirer = Acquirer(REQUEST, PROXY, self.journal, self.deadline, LocalNetwork())
        variables = variables or ResourceVariables(VALUES, {})
        return acquirer.acquire_all(
            [(Resource(name, TYPE, VALUES), variables) for name in names.split()]
        )

    def acquire(self, names: str) -> list[str]:
        """Return each outcome as its token or its error's text."""
        found = self.outcomes(names)
        return [each.token if isinstance(each, Acquired) else str(each) for each in found]

    def entries(self) -> list[Entry]:
        return entries_in(self.journal)


@pytest.fixture
def step(vendor: FakeVendor, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Step:
    deadline = Deadline(60)
    monkeypatch.setattr(deadline, "remaining_seconds", lambda: 60.0)
    return Step(vendor, journal, deadline)


def entry_of(name: str, token: str | None = None, refusal: str = "") -> Entry:
    return Entry(
        *(REQUEST.job_id, REQUEST.restart_count, REQUEST.step_id, REQUEST.uid),
        *(name, TYPE, VALUES, token),
        acquired_at=NOW,
        owner=owner_of(REQUEST.stepd_pid),
        node_variables=PROXY,
        hold=f"a hold on {name}",
        ends_at=NOW + 60 + 1 + HOLD_SECONDS + 1,
        has_sites_login=True,
        granted_at=None if token is None else NOW,
        refusal=refusal,
    )


@pytest.mark.parametrize("brought", ["", "abc"])
def test_all_are_checked_and_acquired_at_once(step: Step, brought: str) -> None:
    step.vendor.brought = set(brought)
    made = threading.Barrier(3, timeout=TOGETHER_SECONDS)
    asked = threading.Barrier(6, timeout=TOGETHER_SECONDS)
    for name in "abc":
        for verb, together in (("make", made), ("check", asked), ("acquire", asked)):
            step.vendor.orders[f"{verb} {name}"] = lambda each=together: each.wait() and None
    assert step.acquire("a b c") == ["token-a", "token-b", "token-c"]


def test_what_is_held_is_described_and_was_in_the_journal_before_and_locked(step: Step) -> None:
    seen: list[list[Entry]] = []

    def look() -> None:
        seen.append(step.entries())
        with pytest.raises(JournalError, match="another process is releasing it"):
            step.journal.lock(entry_of("a"), Deadline(0))

    step.vendor.orders = {"make a": lambda: seen.append(step.entries()), "acquire a": look}
    [held] = step.outcomes("a")
    assert isinstance(held, Acquired)
    assert (held.resource.name, held.token) == ("a", "token-a")
    assert "token-a" not in repr(held)
    assert (seen, step.entries()) == ([[], [entry_of("a")]], [entry_of("a", "token-a")])
    settings = step.vendor.settings["a"]
    assert (settings.values, settings.remaining_seconds) == (VALUES, 60)


PAUSED = AcquisitionError("paused")
REFUSED = AcquisitionError("refused")
NO_VERDICT = ServiceError("no verdict")
CUT_OFF = ServiceError("cut off", may_have_acted=True)
# Its answer cannot be used, but has opened a session.
OPENED = ServiceError("not JSON", may_have_acted=True)
OPENED.token = "token-b"
DOWN = ReleaseError("down")
BUG = ZeroDivisionError("secret text")
MAY_BE_OPEN = "; a hold on b may be open until 2023-11-14 22:46:41 UTC at the latest"
RELEASED = "; it has opened a hold on b, which was released"
KEPT = (
    "; it has opened a hold on b, whose release failed and is tried again when the job ends: down"
)


def kept(reason: str) -> Entry:
    return entry_of("b", "token-b", reason)


def unanswered(reason: str) -> Entry:
    return replace(
        entry_of("b"),
        ends_at=NOW + HOLD_SECONDS + 1,
        failure=f"{reason}{MAY_BE_OPEN}",
        failed_at=NOW,
        failures=1,
    )


@pytest.mark.parametrize(
    ("orders", "text", "left", "released"),
    [
        ({"make": AcquisitionError("no key")}, "no key", None, ""),
        ({"acquire": ServiceError("no answer")}, "no answer", None, ""),
        ({"check": CUT_OFF}, "cut off", None, "token-b"),
        ({"check": PAUSED, "release": DOWN}, f"paused{KEPT}", kept("paused"), "token-b"),
        # The more telling of two reasons is told.
        ({"check": PAUSED, "acquire": REFUSED}, "paused", None, ""),
        ({"check": NO_VERDICT, "acquire": REFUSED}, "refused", None, ""),
        ({"acquire": CUT_OFF}, f"cut off{MAY_BE_OPEN}", unanswered("cut off"), ""),
        ({"check": PAUSED, "acquire": CUT_OFF}, f"paused{MAY_BE_OPEN}", unanswered("paused"), ""),
        ({"acquire": OPENED}, f"not JSON{RELEASED}", None, "token-b"),
        ({"check": PAUSED, "acquire": OPENED}, f"paused{RELEASED}", None, "token-b"),
        ({"acquire": OPENED, "release": DOWN}, f"not JSON{KEPT}", kept("not JSON"), "token-b"),
        ({"check": BUG}, "internal error (ZeroDivisionError)", entry_of("b", "token-b"), ""),
        ({"acquire": BUG}, "internal error (ZeroDivisionError)", entry_of("b"), ""),
    ],
)
def test_what_becomes_of_one_is_counted_and_leaves_the_others_alone(
    step: Step, orders: dict[str, Order], text: str, left: Entry | None, released: str
) -> None:
    names = {"release": "token-b"}
    step.vendor.orders = {f"{verb} {names.get(verb, 'b')}": do for verb, do in orders.items()}
    assert step.acquire("a b c") == ["token-a", text, "token-c"]
    first, last = entry_of("a", "token-a"), entry_of("c", "token-c")
    assert step.entries() == [first, *([left] if left else []), last]
    assert step.vendor.events_of("release") == ({released} if released else set())
    counts = {**dict.fromkeys(Event, 0), Event.ACQUIRED: 2, Event.REFUSED: 1}
    assert read_counts(step.journal.directory) == counts


def test_what_the_user_brought_is_neither_recorded_nor_released(step: Step) -> None:
    step.vendor.brought = set("abcd")
    step.vendor.orders = {
        "check a": PAUSED,
        "check b": PAUSED,
        "acquire b": CUT_OFF,
        "check c": NO_VERDICT,
        "acquire c": REFUSED,
    }
    assert step.acquire("a b c d") == ["paused", "paused", "refused", "token-d"]
    assert (step.vendor.events_of("release"), step.entries()) == (set(), [])


@pytest.mark.parametrize(
    ("order", "left"),
    [
        (None, [entry_of("b", "token-b")]),
        (OPENED, [entry_of("b", "token-b")]),
        (REFUSED, []),
    ],
)
def test_journal_knows_what_is_held_while_the_check_goes_on(
    step: Step, order: QrmiError | None, left: list[Entry]
) -> None:
    """Whoever is killed while it waits for a check leaves no session that nobody knows."""
    seen: list[list[Entry]] = []
    has_asked = threading.Event()

    def wait_for_entries() -> None:
        has_asked.wait(TOGETHER_SECONDS)
        seen.append(wait_until(step.entries, TOGETHER_SECONDS, "entries", accept=left.__eq__))

    def answer() -> None:
        has_asked.set()
        if order is not None:
            raise order

    step.vendor.orders = {"check b": wait_for_entries, "acquire b": answer}
    step.acquire("b")
    assert seen == [left]


@pytest.mark.parametrize("verb", ["check", "acquire"])
def test_entry_that_cannot_be_removed_hides_no_reason(
    step: Step, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    monkeypatch.setattr(Journal, "take_away", Mock(side_effect=JournalError("read-only")))
    step.vendor.orders = {f"{verb} a": PAUSED}
    assert step.acquire("a") == ["paused"]
    assert [each.message for each in caplog.records if each.levelname == "ERROR"] == ["read-only"]


def test_what_may_be_held_for_ever_has_no_end(step: Step) -> None:
    step.vendor.hold_seconds = None
    step.vendor.orders = {"acquire b": CUT_OFF}
    acquired, error = step.outcomes("a b")
    assert isinstance(acquired, Acquired)
    assert acquired.longest_seconds is None
    text = "cut off; a hold on b may be open at the service"
    assert str(error) == text
    held, noted = step.entries()
    assert held == replace(entry_of("a", "token-a"), ends_at=None)
    assert (noted.ends_at, noted.failure) == (None, text)


def test_what_a_user_changed_of_a_login_is_not_noted_as_the_sites(step: Step) -> None:
    """Whoever releases it later has but the entry: the node's token is not for it."""
    for key, is_sites in {"QRMI_KEY": False, "QRMI_MODE": True}.items():
        step.outcomes("a", ResourceVariables(VALUES, {key: "mine"}))
        [entry] = step.entries()
        assert entry.has_sites_login is is_sites, key
        assert step.vendor.settings["a"].has_sites_login is is_sites, key
        step.journal.take_away(entry)


@pytest.mark.parametrize("acquiring", [{}, {"acquire b": OPENED}])
@pytest.mark.parametrize(
    ("releasing", "failures", "reasons", "left"),
    [
        ({}, 1, "", []),
        ({"release token-b": DOWN}, 1, "; down", [entry_of("b", "token-b")]),
        ({"release token-b": DOWN}, 100, f"; down{MAY_BE_OPEN}", [entry_of("b")]),
    ],
)
def test_what_cannot_be_recorded_is_released_at_once(
    step: Step,
    monkeypatch: pytest.MonkeyPatch,
    *,
    acquiring: dict[str, Order],
    releasing: dict[str, Order],
    failures: int,
    reasons: str,
    left: list[Entry],
) -> None:
    full_disk = [OSError(28, "No space left on device")] * failures
    # The folder's parent, the first entry's file and folder are written before.
    fsync = Mock(side_effect=chain([None] * 3, full_disk, repeat(None)))
    monkeypatch.setattr(os, "fsync", fsync)
    step.vendor.orders = acquiring | releasing
    [text] = step.acquire("b")
    assert text.endswith(f": No space left on device{reasons}")
    assert step.vendor.events_of("release") == {"token-b"}
    assert step.entries() == left


def test_what_hangs_is_given_up_at_the_deadline(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_once, "_CANCEL_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(at_once, "_CANCEL_CHECK_SECONDS", 0.01)
    step.deadline = Deadline(60)
    quick: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
    hanging = threading.Event()

    def cancel_and_hang() -> None:
        quick.get(timeout=TOGETHER_SECONDS).join(TOGETHER_SECONDS)
        step.deadline.cancel()
        hanging.wait(TOGETHER_SECONDS)

    step.vendor.orders = {
        "acquire a": cancel_and_hang,
        "acquire b": lambda: quick.put(threading.current_thread()),
    }
    late, held = step.acquire("a b")
    hanging.set()
    assert (late, held) == ("gave no result in time", "token-b")


@pytest.mark.usefixtures("no_grace")
def test_grace_is_one_for_all_that_hang() -> None:
    waits: list[float] = []

    class NeverFinished(threading.Semaphore):
        def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return False

    at_once._wait_for(NeverFinished(0), 100, Deadline(0))
    assert len(waits) == 1
