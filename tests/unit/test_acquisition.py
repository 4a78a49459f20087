# SPDX-License-Identifier: GPL-3.0-or-later
"""Acquiring and releasing with clients that do as told: at once, each for itself, nothing lost."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from spank_qrmi import acquisition
from spank_qrmi.acquisition import Acquirer, Held, Holder
from spank_qrmi.config import Resource
from spank_qrmi.deadline import Deadline
from spank_qrmi.environment import ResourceEnvironment
from spank_qrmi.errors import AcquisitionError, QrmiError, ReleaseError, ServiceError
from spank_qrmi.journal import Entry, Journal
from tests.unit.fake_vendor import TYPE, FakeVendor

HOLDER = Holder(7, 1, 0xFFFFFFFB, 1000, remaining_seconds=60)
VALUES = {"QRMI_KEY": "secret"}
TOGETHER_SECONDS = 10


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def acquirer(journal: Journal) -> Acquirer:
    return Acquirer(HOLDER, journal, Deadline(60))


def acquire(acquirer: Acquirer, names: str) -> list[Held | QrmiError]:
    environment = ResourceEnvironment(VALUES, {})
    return acquirer.acquire_all(
        [(Resource(name, TYPE, VALUES), environment) for name in names.split()]
    )


def shown(outcomes: Sequence[Held | QrmiError]) -> list[str]:
    """Return each outcome as its token or its error's text."""
    return [each.token if isinstance(each, Held) else str(each) for each in outcomes]


def entry_of(name: str, token: str | None = None, resource_type: str = TYPE) -> Entry:
    return Entry(
        HOLDER.job_id,
        HOLDER.restart_count,
        HOLDER.step_id,
        HOLDER.uid,
        name,
        resource_type,
        VALUES,
        token,
    )


def by_name(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.resource_name)


@pytest.mark.parametrize("verb", ["make", "check", "acquire"])
def test_all_are_acquired_at_once(vendor: FakeVendor, acquirer: Acquirer, verb: str) -> None:
    together = threading.Barrier(3, timeout=TOGETHER_SECONDS)
    vendor.orders = {f"{verb} {name}": lambda: together.wait() and None for name in "abc"}
    assert shown(acquire(acquirer, "a b c")) == ["token-a", "token-b", "token-c"]


def test_all_are_released_at_once(vendor: FakeVendor, acquirer: Acquirer) -> None:
    together = threading.Barrier(3, timeout=TOGETHER_SECONDS)
    vendor.orders = {f"release token-{name}": lambda: together.wait() and None for name in "abc"}
    acquire(acquirer, "a b c")
    assert acquirer.release_all(acquirer.entries()) == []
    assert (acquirer.entries(), len(vendor.events_of("release"))) == ([], 3)


def test_what_is_held_is_described_and_in_the_journal(
    vendor: FakeVendor, acquirer: Acquirer
) -> None:
    [held] = acquire(acquirer, "a")
    assert isinstance(held, Held)
    assert (held.resource.name, held.token, held.must_release) == ("a", "token-a", True)
    assert "token-a" not in repr(held)
    assert acquirer.entries() == [entry_of("a", "token-a")]
    settings = vendor.settings["a"]
    assert (settings.values, settings.remaining_seconds) == (VALUES, 60)


def test_journal_knows_before_the_vendor_is_asked(vendor: FakeVendor, acquirer: Acquirer) -> None:
    seen: list[list[Entry]] = []
    for verb in ("make", "check", "acquire"):
        vendor.orders[f"{verb} a"] = lambda: seen.append(acquirer.entries())
    acquire(acquirer, "a")
    assert seen == [[], [], [entry_of("a")]]


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("make", AcquisitionError("no key")),
        ("check", AcquisitionError("not accessible")),
        ("check", ServiceError("no answer", may_have_acted=True)),
        ("acquire", AcquisitionError("refused")),
        ("acquire", ServiceError("no answer")),
    ],
)
def test_refused_resource_leaves_nothing_and_the_others_alone(
    vendor: FakeVendor, acquirer: Acquirer, step: str, error: QrmiError
) -> None:
    vendor.orders = {f"{step} b": error}
    assert shown(acquire(acquirer, "a b c")) == ["token-a", str(error), "token-c"]
    assert by_name(acquirer.entries()) == [entry_of("a", "token-a"), entry_of("c", "token-c")]
    assert vendor.events_of("release") == set()


def test_acquisition_that_may_have_happened_stays_in_the_journal(
    vendor: FakeVendor, acquirer: Acquirer
) -> None:
    vendor.orders = {"acquire a": ServiceError("cut off", may_have_acted=True)}
    assert shown(acquire(acquirer, "a")) == ["cut off"]
    assert acquirer.entries() == [entry_of("a")]


@pytest.mark.parametrize(("step", "left"), [("check", []), ("acquire", [entry_of("b")])])
def test_internal_error_is_one_resources_own(
    vendor: FakeVendor,
    acquirer: Acquirer,
    caplog: pytest.LogCaptureFixture,
    step: str,
    left: list[Entry],
) -> None:
    vendor.orders = {f"{step} b": ZeroDivisionError("secret text")}
    expected = ["token-a", "internal error (ZeroDivisionError)"]
    assert shown(acquire(acquirer, "a b")) == expected
    assert by_name(acquirer.entries()) == [entry_of("a", "token-a"), *left]
    assert "internal error: ZeroDivisionError at " in caplog.text
    assert "secret text" not in caplog.text


def test_credential_of_the_site_never_reaches_a_client(
    vendor: FakeVendor, acquirer: Acquirer
) -> None:
    environment = ResourceEnvironment(VALUES, {"QRMI_ENDPOINT": "https://mine"})
    [outcome] = acquirer.acquire_all([(Resource("a", TYPE, VALUES), environment)])
    assert str(outcome).startswith("a_QRMI_ENDPOINT is yours but a_QRMI_KEY is the site's")
    assert vendor.events == []


def test_without_journal_nothing_is_acquired(vendor: FakeVendor, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    acquirer = Acquirer(HOLDER, Journal(tmp_path / "file"), Deadline(60))
    [text] = shown(acquire(acquirer, "a"))
    assert text == f"cannot record the acquisition in {tmp_path}/file: File exists"
    assert vendor.events_of("acquire") == set()


def fail_second_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full from the second entry on."""
    syncs: list[int] = []
    fsync = os.fsync

    def full_disk(descriptor: int) -> None:
        syncs.append(descriptor)
        if len(syncs) == 3:  # The first entry's file and folder come before.
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_disk)


def test_what_cannot_be_recorded_is_released_at_once(
    vendor: FakeVendor, acquirer: Acquirer, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_second_write(monkeypatch)
    [text] = shown(acquire(acquirer, "a"))
    assert text.endswith(": No space left on device")
    assert vendor.events_of("release") == {"token-a"}
    assert acquirer.entries() == []


def test_what_can_neither_be_recorded_nor_released_says_so(
    vendor: FakeVendor, acquirer: Acquirer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_second_write(monkeypatch)
    vendor.orders = {"release token-a": ReleaseError("the session may still be open")}
    assert shown(acquire(acquirer, "a")) == ["the session may still be open"]
    assert acquirer.entries() == [entry_of("a")]


def test_what_the_user_brought_is_used_and_not_recorded(
    vendor: FakeVendor, acquirer: Acquirer
) -> None:
    vendor.brought = {"a"}
    [held] = acquire(acquirer, "a")
    assert isinstance(held, Held)
    assert (held.token, held.must_release) == ("token-a", False)
    assert acquirer.entries() == []


def test_what_hangs_is_given_up_at_the_deadline(
    vendor: FakeVendor, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acquisition, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(acquisition, "_CANCEL_CHECK_SECONDS", 0.01)
    deadline = Deadline(60)
    quick = threading.Event()
    hanging = threading.Event()

    def cancel_and_hang() -> None:
        quick.wait(TOGETHER_SECONDS)
        deadline.cancel()
        hanging.wait(TOGETHER_SECONDS)

    vendor.orders = {"acquire a": cancel_and_hang, "acquire b": quick.set}
    acquirer = Acquirer(HOLDER, journal, deadline)
    late, held = shown(acquire(acquirer, "a b"))
    hanging.set()
    assert (late, held) == ("gave no result in time", "token-b")


def test_release_takes_the_entry_away(vendor: FakeVendor, journal: Journal) -> None:
    journal.write(entry_of("a", "token-a"))
    acquirer = Acquirer(HOLDER, journal, Deadline(60))
    assert acquirer.release_all(acquirer.entries()) == []
    assert (acquirer.entries(), vendor.events_of("release")) == ([], {"token-a"})
    assert vendor.settings["a"].values == VALUES


def test_releasing_twice_does_no_harm(vendor: FakeVendor, journal: Journal) -> None:
    entry = entry_of("a", "token-a")
    journal.write(entry)
    acquirer = Acquirer(HOLDER, journal, Deadline(60))
    assert acquirer.release_all([entry]) == []
    assert acquirer.release_all([entry]) == []


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (ReleaseError("may still be open"), "a: may still be open"),
        (ServiceError("no answer"), "a: no answer"),
        (KeyError("secret"), "a: internal error (KeyError)"),
    ],
)
def test_failed_release_keeps_its_entry(
    vendor: FakeVendor, journal: Journal, order: Exception, expected: str
) -> None:
    vendor.orders = {"release token-a": order}
    for name in "ab":
        journal.write(entry_of(name, f"token-{name}"))
    acquirer = Acquirer(HOLDER, journal, Deadline(60))
    errors = acquirer.release_all(acquirer.entries())
    assert [(type(error), str(error)) for error in errors] == [(ReleaseError, expected)]
    assert acquirer.entries() == [entry_of("a", "token-a")]


def test_client_that_cannot_be_made_keeps_its_entry(vendor: FakeVendor, journal: Journal) -> None:
    vendor.orders = {"make a": AcquisitionError("no key")}
    journal.write(entry_of("a", "token-a"))
    acquirer = Acquirer(HOLDER, journal, Deadline(60))
    assert [str(error) for error in acquirer.release_all(acquirer.entries())] == ["a: no key"]
    assert acquirer.entries() == [entry_of("a", "token-a")]


def test_unknown_type_in_the_journal_keeps_its_entry(vendor: FakeVendor, journal: Journal) -> None:
    entry = entry_of("a", "token-a", resource_type="of a later version")
    journal.write(entry)
    acquirer = Acquirer(HOLDER, journal, Deadline(60))
    text = "a: of a later version is no resource type that this version knows"
    assert [str(error) for error in acquirer.release_all(acquirer.entries())] == [text]
    assert acquirer.entries() == [entry]


def test_acquisition_without_token_is_reported_once(vendor: FakeVendor, journal: Journal) -> None:
    journal.write(entry_of("a"))
    acquirer = Acquirer(HOLDER, journal, Deadline(60))
    [error] = acquirer.release_all(acquirer.entries())
    assert str(error).startswith("a: the service never answered the request to acquire")
    assert (acquirer.entries(), vendor.events) == ([], [])


def test_unreadable_entry_is_logged_and_skipped(
    vendor: FakeVendor, journal: Journal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal.write(entry_of("a", "token-a"))
    path = tmp_path / "journal" / entry_of("b").file_name
    path.write_text("{")
    entries = Acquirer(HOLDER, journal, Deadline(60)).entries()
    assert entries == [entry_of("a", "token-a")]
    expected = f"{path}: is no entry of this journal: look at it, then remove it"
    assert expected in caplog.messages


def test_grace_is_one_for_all_that_hang() -> None:
    class NeverFinished(threading.Semaphore):
        waits = 0

        def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
            self.waits += 1
            return False

    finished = NeverFinished(0)
    over = Deadline(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acquisition, "_GRACE_SECONDS", 0.0)
        acquisition._wait_for(finished, 100, over)
    assert finished.waits == 1
