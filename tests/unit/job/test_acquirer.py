# SPDX-License-Identifier: GPL-3.0-or-later
"""Acquiring with clients that do as told: at once, each for itself, nothing lost."""

import os
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

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
from tests.unit.local_network import LocalNetwork

PROXY = {"https_proxy": "http://proxy"}
REQUEST = Request(Verb.ACQUIRE, 7, 1, 0xFFFFFFFB, 1000, 60, time_limit_minutes=1)
NOW = 1_700_000_000
ENDS_AT = "2023-11-14 22:46:40 UTC"
VALUES = {"QRMI_KEY": "secret"}
TOGETHER_SECONDS = 60


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: float(NOW))


@pytest.fixture
def acquirer(journal: Journal) -> Acquirer:
    return Acquirer(REQUEST, PROXY, journal, FixedDeadline(60), LocalNetwork())


class FixedDeadline(Deadline):
    """A deadline that always leaves the same time."""

    def remaining_seconds(self) -> float:
        return 60.0


def entries_in(journal: Journal) -> list[Entry]:
    return [entry for entry in journal.entries() if isinstance(entry, Entry)]


def acquire(acquirer: Acquirer, names: str) -> list[Acquired | QrmiError]:
    variables = ResourceVariables(VALUES, {})
    return acquirer.acquire_all(
        [(Resource(name, TYPE, VALUES), variables) for name in names.split()]
    )


def shown(outcomes: Sequence[Acquired | QrmiError]) -> list[str]:
    """Return each outcome as its token or its error's text."""
    return [each.token if isinstance(each, Acquired) else str(each) for each in outcomes]


def entry_of(name: str, token: str | None = None) -> Entry:
    return Entry(
        REQUEST.job_id,
        REQUEST.restart_count,
        REQUEST.step_id,
        REQUEST.uid,
        name,
        TYPE,
        VALUES,
        token,
        acquired_at=NOW,
        owner=owner_of(REQUEST.stepd_pid),
        node_variables=PROXY,
        hold=f"a hold on {name}",
        ends_at=NOW + 60 + 1 + HOLD_SECONDS,
        has_sites_login=True,
        granted_at=None if token is None else NOW,
    )


def by_name(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.resource_name)


@pytest.mark.parametrize("verb", ["make", "check", "acquire"])
def test_all_are_acquired_at_once(vendor: FakeVendor, acquirer: Acquirer, verb: str) -> None:
    together = threading.Barrier(3, timeout=TOGETHER_SECONDS)
    vendor.orders = {f"{verb} {name}": lambda: together.wait() and None for name in "abc"}
    assert shown(acquire(acquirer, "a b c")) == ["token-a", "token-b", "token-c"]


def test_what_is_held_is_described_and_in_the_journal(
    vendor: FakeVendor, acquirer: Acquirer, journal: Journal
) -> None:
    [held] = acquire(acquirer, "a")
    assert isinstance(held, Acquired)
    assert (held.resource.name, held.token) == ("a", "token-a")
    assert "token-a" not in repr(held)
    assert entries_in(journal) == [entry_of("a", "token-a")]
    settings = vendor.settings["a"]
    assert (settings.values, settings.remaining_seconds) == (VALUES, 60)


def test_journal_knows_before_the_vendor_is_asked(
    vendor: FakeVendor, acquirer: Acquirer, journal: Journal
) -> None:
    seen: list[list[Entry]] = []
    for verb in ("make", "acquire"):
        vendor.orders[f"{verb} a"] = lambda: seen.append(entries_in(journal))
    acquire(acquirer, "a")
    assert seen == [[], [entry_of("a")]]


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("make", AcquisitionError("no key")),
        ("acquire", AcquisitionError("refused")),
        ("acquire", ServiceError("no answer")),
    ],
)
def test_refused_resource_leaves_nothing_and_the_others_alone(
    vendor: FakeVendor, acquirer: Acquirer, step: str, error: QrmiError, journal: Journal
) -> None:
    vendor.orders = {f"{step} b": error}
    assert shown(acquire(acquirer, "a b c")) == ["token-a", str(error), "token-c"]
    assert by_name(entries_in(journal)) == [entry_of("a", "token-a"), entry_of("c", "token-c")]
    assert vendor.events_of("release") == set()


def test_what_became_of_each_is_counted(
    vendor: FakeVendor, acquirer: Acquirer, journal: Journal
) -> None:
    vendor.orders = {"acquire b": AcquisitionError("refused")}
    acquire(acquirer, "a b c")
    assert read_counts(journal.directory) == {
        **dict.fromkeys(Event, 0),
        Event.ACQUIRED: 2,
        Event.REFUSED: 1,
    }


@pytest.mark.parametrize("is_brought", [False, True])
def test_check_and_acquisition_are_at_the_same_time(
    vendor: FakeVendor, acquirer: Acquirer, is_brought: bool
) -> None:
    vendor.brought = {"a"} if is_brought else set()
    together = threading.Barrier(2, timeout=TOGETHER_SECONDS)
    vendor.orders = {f"{verb} a": lambda: together.wait() and None for verb in ("check", "acquire")}
    assert shown(acquire(acquirer, "a")) == ["token-a"]


NOT_ACCESSIBLE = AcquisitionError("not accessible")


@pytest.mark.parametrize("error", [NOT_ACCESSIBLE, ServiceError("no answer", may_have_acted=True)])
def test_what_is_not_accessible_is_released_at_once(
    vendor: FakeVendor, acquirer: Acquirer, error: QrmiError, journal: Journal
) -> None:
    vendor.orders = {"check b": error}
    assert shown(acquire(acquirer, "a b c")) == ["token-a", str(error), "token-c"]
    assert by_name(entries_in(journal)) == [entry_of("a", "token-a"), entry_of("c", "token-c")]
    assert vendor.events_of("release") == {"token-b"}


def test_what_the_user_brought_is_kept_though_not_accessible(
    vendor: FakeVendor, acquirer: Acquirer
) -> None:
    vendor.brought = {"a"}
    vendor.orders = {"check a": NOT_ACCESSIBLE}
    assert shown(acquire(acquirer, "a")) == ["not accessible"]
    assert vendor.events_of("release") == set()


def opened(token: str) -> ServiceError:
    error = ServiceError("not JSON", may_have_acted=True)
    error.token = token
    return error


@pytest.mark.parametrize(
    ("order", "left"),
    [
        (None, [entry_of("a", "token-a")]),
        (opened("token-a"), [entry_of("a", "token-a")]),
        (AcquisitionError("refused"), []),
    ],
    ids=["acquired", "broken answer", "refused"],
)
def test_journal_knows_what_is_held_while_the_check_goes_on(
    vendor: FakeVendor,
    acquirer: Acquirer,
    journal: Journal,
    order: QrmiError | None,
    left: list[Entry],
) -> None:
    """Whoever is killed while it waits for a check leaves no session that nobody knows."""
    seen: list[list[Entry]] = []
    has_asked = threading.Event()

    def wait_for_entries() -> None:
        deadline = Deadline(TOGETHER_SECONDS)
        has_asked.wait(TOGETHER_SECONDS)
        while entries_in(journal) != left:
            assert deadline.wait(0.001)
        seen.append(entries_in(journal))

    def answer() -> None:
        has_asked.set()
        if order is not None:
            raise order

    vendor.orders = {"check a": wait_for_entries, "acquire a": answer}
    acquire(acquirer, "a")
    assert seen == [left]


def test_release_of_what_is_not_accessible_is_tried_again_later(
    vendor: FakeVendor, acquirer: Acquirer, journal: Journal
) -> None:
    vendor.orders = {"check a": NOT_ACCESSIBLE, "release token-a": ReleaseError("down")}
    assert shown(acquire(acquirer, "a")) == [
        "not accessible; it has opened a hold on a, whose release failed and is tried again when "
        "the job ends: down"
    ]
    kept = replace(entry_of("a", "token-a"), refusal="not accessible")
    assert entries_in(journal) == [kept]


@pytest.mark.parametrize(
    "orders",
    [{"check a": NOT_ACCESSIBLE}, {"acquire a": NOT_ACCESSIBLE}],
    ids=["acquired", "refused"],
)
def test_entry_that_cannot_be_removed_hides_no_reason(
    vendor: FakeVendor,
    acquirer: Acquirer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    orders: dict[str, Order],
) -> None:
    def fail(journal: Journal, entry: Entry) -> None:
        raise JournalError("read-only")

    monkeypatch.setattr(Journal, "take_away", fail)
    vendor.orders = orders
    assert shown(acquire(acquirer, "a")) == ["not accessible"]
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "read-only"
    ]


MAY_BE_OPEN = f"; a hold on a may be open until {ENDS_AT} at the latest"


@pytest.mark.parametrize("is_brought", [False, True])
@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((NOT_ACCESSIBLE, AcquisitionError("refused")), "not accessible"),
        ((NOT_ACCESSIBLE, ServiceError("no answer")), "not accessible"),
        (
            (NOT_ACCESSIBLE, ServiceError("cut off", may_have_acted=True)),
            f"not accessible{MAY_BE_OPEN}",
        ),
        ((ServiceError("no verdict"), AcquisitionError("refused")), "refused"),
        ((ServiceError("no verdict"), ServiceError("no answer")), "no answer"),
    ],
)
def test_more_telling_of_two_reasons_is_told(
    vendor: FakeVendor,
    acquirer: Acquirer,
    errors: tuple[QrmiError, QrmiError],
    expected: str,
    is_brought: bool,
) -> None:
    vendor.brought = {"a"} if is_brought else set()
    vendor.orders = dict(zip(("check a", "acquire a"), errors, strict=True))
    [text] = shown(acquire(acquirer, "a"))
    assert text == (expected.removesuffix(MAY_BE_OPEN) if is_brought else expected)
    assert vendor.events_of("release") == set()


def test_session_of_a_broken_answer_is_released_though_the_check_says_more(
    vendor: FakeVendor, acquirer: Acquirer
) -> None:
    vendor.orders = {"check a": NOT_ACCESSIBLE, "acquire a": opened("s-1")}
    [text] = shown(acquire(acquirer, "a"))
    assert text == "not accessible; it has opened a hold on a, which was released"
    assert vendor.events_of("release") == {"s-1"}


def test_acquisition_that_may_have_happened_stays_in_the_journal(
    vendor: FakeVendor, acquirer: Acquirer, journal: Journal
) -> None:
    vendor.orders = {"acquire a": ServiceError("cut off", may_have_acted=True)}
    text = f"cut off; a hold on a may be open until {ENDS_AT} at the latest"
    assert shown(acquire(acquirer, "a")) == [text]
    noted = replace(
        entry_of("a"), ends_at=NOW + HOLD_SECONDS, failure=text, failed_at=NOW, failures=1
    )
    assert entries_in(journal) == [noted]
    assert not noted.needs_release


def test_what_may_be_held_for_ever_has_no_end(
    vendor: FakeVendor, acquirer: Acquirer, journal: Journal
) -> None:
    vendor.hold_seconds = None
    [acquired] = acquire(acquirer, "a")
    assert isinstance(acquired, Acquired)
    assert acquired.longest_seconds is None
    assert entries_in(journal) == [replace(entry_of("a", "token-a"), ends_at=None)]
    vendor.orders = {"acquire b": ServiceError("cut off", may_have_acted=True)}
    text = "cut off; a hold on b may be open at the service"
    assert shown(acquire(acquirer, "b")) == [text]
    [noted] = [each for each in entries_in(journal) if each.resource_name == "b"]
    assert (noted.ends_at, noted.failure) == (None, text)
    assert not noted.has_ended(NOW * 2)


def test_session_of_a_broken_answer_is_released(
    vendor: FakeVendor, acquirer: Acquirer, journal: Journal
) -> None:
    vendor.orders = {"acquire a": opened("s-1")}
    [text] = shown(acquire(acquirer, "a"))
    assert text == "not JSON; it has opened a hold on a, which was released"
    assert (vendor.events_of("release"), entries_in(journal)) == ({"s-1"}, [])


def test_session_of_a_broken_answer_stays_in_the_journal_until_it_is_released(
    vendor: FakeVendor, acquirer: Acquirer, journal: Journal
) -> None:
    vendor.orders = {"acquire a": opened("s-1"), "release s-1": ReleaseError("down")}
    [text] = shown(acquire(acquirer, "a"))
    assert text == (
        "not JSON; it has opened a hold on a, whose release failed and is tried again when the job "
        "ends: down"
    )
    assert entries_in(journal) == [replace(entry_of("a", "s-1"), refusal="not JSON")]


def test_entry_is_locked_while_the_vendor_is_asked(
    vendor: FakeVendor, acquirer: Acquirer, journal: Journal
) -> None:
    seen: list[str] = []

    def look() -> None:
        with pytest.raises(JournalError) as caught:
            journal.lock(entry_of("a"), Deadline(0))
        seen.append(str(caught.value))

    vendor.orders = {"acquire a": look}
    acquire(acquirer, "a")
    assert seen == ["another process is releasing it, and did not end in time"]
    locked = journal.lock(entry_of("a"), Deadline(0))
    assert locked is not None
    with locked:
        assert locked.entry == entry_of("a", "token-a")


@pytest.mark.parametrize("step", ["check", "acquire"])
def test_internal_error_is_one_resources_own(
    vendor: FakeVendor,
    acquirer: Acquirer,
    caplog: pytest.LogCaptureFixture,
    step: str,
    journal: Journal,
) -> None:
    left = [entry_of("b", None if step == "acquire" else "token-b")]
    vendor.orders = {f"{step} b": ZeroDivisionError("secret text")}
    expected = ["token-a", "internal error (ZeroDivisionError)"]
    assert shown(acquire(acquirer, "a b")) == expected
    assert by_name(entries_in(journal)) == [entry_of("a", "token-a"), *left]
    assert "internal error: ZeroDivisionError at " in caplog.text
    assert "secret text" not in caplog.text


def test_credential_of_the_site_never_reaches_a_client(
    vendor: FakeVendor, acquirer: Acquirer
) -> None:
    variables = ResourceVariables(VALUES, {"QRMI_ENDPOINT": "https://mine"})
    [outcome] = acquirer.acquire_all([(Resource("a", TYPE, VALUES), variables)])
    assert str(outcome).startswith("a_QRMI_ENDPOINT is yours but a_QRMI_KEY is the site's")
    assert vendor.events == []


def test_what_a_user_changed_of_a_login_is_not_noted_as_the_sites(
    vendor: FakeVendor, acquirer: Acquirer, journal: Journal
) -> None:
    """Whoever releases it later has but the entry: the node's token is not for it."""
    for key, is_sites in {"QRMI_KEY": False, "QRMI_ENDPOINT": False, "QRMI_MODE": True}.items():
        user = {"QRMI_KEY": "mine", key: "https://mine"} if not is_sites else {key: "mine"}
        resource = Resource("a", TYPE, VALUES)
        acquirer.acquire_all([(resource, ResourceVariables(VALUES, user))])
        [entry] = entries_in(journal)
        assert entry.has_sites_login is is_sites, key
        assert vendor.settings["a"].has_sites_login is is_sites, key
        journal.take_away(entry)


def test_without_journal_nothing_is_acquired(
    vendor: FakeVendor, tmp_path: Path, journal: Journal
) -> None:
    (tmp_path / "file").touch()
    acquirer = Acquirer(REQUEST, PROXY, Journal(tmp_path / "file"), Deadline(60), LocalNetwork())
    [text] = shown(acquire(acquirer, "a"))
    assert text == f"cannot record the acquisition in {tmp_path}/file: Not a directory"
    assert vendor.events_of("acquire") == set()


def fail_second_write(monkeypatch: pytest.MonkeyPatch, *, and_later: bool = False) -> None:
    """Let the disk be full for the second write of an entry."""
    syncs: list[int] = []
    fsync = os.fsync

    def full_disk(descriptor: int) -> None:
        syncs.append(descriptor)
        if len(syncs) == 4 or (
            and_later and len(syncs) > 4
        ):  # Before: the folder's parent, the first entry's file and folder.
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_disk)


GIVEN_TOKENS: dict[str, dict[str, Order]] = {
    "token": {},
    "broken answer": {"acquire a": opened("token-a")},
}


@pytest.mark.parametrize("orders", GIVEN_TOKENS.values(), ids=GIVEN_TOKENS)
def test_what_cannot_be_recorded_is_released_at_once(
    vendor: FakeVendor,
    acquirer: Acquirer,
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
    orders: dict[str, Order],
) -> None:
    fail_second_write(monkeypatch)
    vendor.orders = orders
    [text] = shown(acquire(acquirer, "a"))
    assert text.endswith(": No space left on device")
    assert vendor.events_of("release") == {"token-a"}
    assert entries_in(journal) == []


@pytest.mark.parametrize("orders", GIVEN_TOKENS.values(), ids=GIVEN_TOKENS)
@pytest.mark.parametrize("stays_full", [False, True])
def test_what_can_neither_be_recorded_nor_released_says_so(
    vendor: FakeVendor,
    acquirer: Acquirer,
    monkeypatch: pytest.MonkeyPatch,
    journal: Journal,
    *,
    orders: dict[str, Order],
    stays_full: bool,
) -> None:
    fail_second_write(monkeypatch, and_later=stays_full)
    vendor.orders = {**orders, "release token-a": ReleaseError("down")}
    [text] = shown(acquire(acquirer, "a"))
    _, _, reasons = text.partition(": No space left on device; ")
    if stays_full:
        assert reasons == f"down; a hold on a may be open until {ENDS_AT} at the latest"
        assert entries_in(journal) == [entry_of("a")]
    else:
        assert reasons == "down"
        assert entries_in(journal) == [entry_of("a", "token-a")]


def test_what_the_user_brought_is_used_and_not_recorded(
    vendor: FakeVendor, acquirer: Acquirer, journal: Journal
) -> None:
    vendor.brought = {"a"}
    [held] = acquire(acquirer, "a")
    assert isinstance(held, Acquired)
    assert held.token == "token-a"
    assert entries_in(journal) == []


def test_what_hangs_is_given_up_at_the_deadline(
    vendor: FakeVendor, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_once, "_CANCEL_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(at_once, "_CANCEL_CHECK_SECONDS", 0.01)
    deadline = Deadline(60)
    quick: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
    hanging = threading.Event()

    def cancel_and_hang() -> None:
        quick.get(timeout=TOGETHER_SECONDS).join(TOGETHER_SECONDS)
        deadline.cancel()
        hanging.wait(TOGETHER_SECONDS)

    vendor.orders = {
        "acquire a": cancel_and_hang,
        "acquire b": lambda: quick.put(threading.current_thread()),
    }
    acquirer = Acquirer(REQUEST, PROXY, journal, deadline, LocalNetwork())
    late, held = shown(acquire(acquirer, "a b"))
    hanging.set()
    assert (late, held) == ("gave no result in time", "token-b")


def test_grace_is_one_for_all_that_hang() -> None:
    class NeverFinished(threading.Semaphore):
        waits = 0

        def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
            self.waits += 1
            return False

    finished = NeverFinished(0)
    over = Deadline(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(at_once, "_GRACE_SECONDS", 0.0)
        at_once._wait_for(finished, 100, over)
    assert finished.waits == 1
