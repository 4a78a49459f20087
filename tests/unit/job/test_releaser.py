# SPDX-License-Identifier: GPL-3.0-or-later
"""Releasing what the journal holds: at once, each for itself, once, and never forgotten."""

import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import AcquisitionError, QrmiError, ReleaseError, ServiceError
from spank_qrmi.job.releaser import Releaser
from spank_qrmi.network.calls import Services
from spank_qrmi.state.counts import FOLDER_NAME, Event, read_counts
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.orphans import in_fair_order
from spank_qrmi.state.owner import Owner
from tests.unit.fake_vendor import TYPE, FakeVendor
from tests.unit.local_network import LocalNetwork

NOW = 1_700_000_000
GONE = Owner(os.uname().nodename, "another boot", 1, 2, 3)
TOGETHER_SECONDS = 60


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: float(NOW))


def entry_of(name: str, token: str | None = "", **changes: object) -> Entry:
    entry = Entry(
        *(7, 1, 0, 1000, name, TYPE, {"QRMI_KEY": "secret-key"}),
        token=f"token-{name}" if token == "" else token,
        acquired_at=NOW - 10,
        owner=GONE,
        hold="a session",
        ends_at=NOW + 100,
    )
    return replace(entry, **changes)  # type: ignore[arg-type]


def hold(journal: Journal, *entries: Entry) -> list[Entry]:
    for entry in entries:
        with journal.begin(entry):
            pass
    return list(entries)


def release(journal: Journal, entries: Sequence[Entry]) -> list[str | None]:
    """Return each error's text, None for what was released."""
    outcomes = Releaser(journal, Deadline(60), LocalNetwork()).release_all(entries)
    return [None if error is None else str(error) for error in outcomes]


def test_all_are_released_at_once(vendor: FakeVendor, journal: Journal) -> None:
    together = threading.Barrier(3, timeout=TOGETHER_SECONDS)
    vendor.orders = {f"release token-{name}": lambda: together.wait() and None for name in "abc"}
    entries = hold(journal, *map(entry_of, "abc"))
    assert release(journal, entries) == [None, None, None]
    assert (list(journal.entries()), len(vendor.events_of("release"))) == ([], 3)
    assert vendor.settings["a"].values == {"QRMI_KEY": "secret-key"}


def test_what_became_of_each_is_counted(vendor: FakeVendor, journal: Journal) -> None:
    vendor.orders = {"release token-b": ReleaseError("down")}
    entries = hold(journal, *map(entry_of, "abc"))
    release(journal, entries)
    # What another process has released is not ours to count.
    release(journal, entries)
    assert read_counts(journal.directory) == {
        **dict.fromkeys(Event, 0),
        Event.RELEASED: 2,
        Event.KEPT: 2,
    }


def test_counts_that_cannot_be_written_keep_nothing(vendor: FakeVendor, journal: Journal) -> None:
    entries = hold(journal, entry_of("a"))
    journal.directory.joinpath(FOLDER_NAME).write_bytes(b"")
    assert (release(journal, entries), list(journal.entries())) == ([None], [])


def test_what_a_service_only_agrees_to_end_is_looked_at_again(
    vendor: FakeVendor, journal: Journal
) -> None:
    """The job's end does not wait for it, and the entry is no longer the job's."""
    vendor.only_agrees = True
    site, own = entry_of("a"), entry_of("b", has_users_endpoint=True, ends_at=2 * NOW)
    assert release(journal, hold(journal, site, own)) == [None, None]
    [told] = journal.entries()
    assert told == replace(site, is_told=True)
    assert list(journal.entries(7)) == []
    vendor.orders = {"look again token-a": ReleaseError("still open")}
    assert release(journal, [told]) == ["still open"]
    [kept] = journal.entries()
    assert isinstance(kept, Entry)
    assert (kept.is_told, kept.failure) == (True, "still open")
    vendor.orders = {}
    assert release(journal, [kept]) == [None]
    assert list(journal.entries()) == []


def test_nobody_is_asked_what_was_used_if_nobody_records_it(
    vendor: FakeVendor, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CLIENTS[TYPE], "tells_usage", True)
    assert release(journal, hold(journal, entry_of("a"))) == [None]
    assert (list(journal.entries()), vendor.events_of("usage")) == ([], set())


def test_certificates_that_others_can_write_are_not_used(
    vendor: FakeVendor, journal: Journal, tmp_path: Path
) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.touch()
    certificates.chmod(0o666)
    entry = entry_of("a", node_variables={"SSL_CERT_FILE": str(certificates)})
    [error] = release(journal, hold(journal, entry))
    assert error is not None
    assert f"{certificates}: must be writable by its owner alone" in error
    assert not vendor.events_of("release")


def test_all_that_a_long_outage_has_left_is_released(vendor: FakeVendor, journal: Journal) -> None:
    names = [f"q{number}" for number in range(100)]
    assert release(journal, hold(journal, *map(entry_of, names))) == [None] * 100
    assert (len(vendor.events_of("release")), list(journal.entries())) == (100, [])


def test_what_no_thread_has_come_to_is_kept(vendor: FakeVendor, journal: Journal) -> None:
    go_on = threading.Event()
    names = [f"q{number}" for number in range(100)]
    vendor.orders = {f"release token-{name}": lambda: go_on.wait() and None for name in names}
    entries = hold(journal, *map(entry_of, names))
    errors = Releaser(journal, Deadline(0.5), LocalNetwork()).release_all(entries)
    go_on.set()
    assert {str(error) for error in errors} == {"gave no result in time"}
    assert len(vendor.events_of("release")) == 64


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (ReleaseError("may still be open"), "may still be open"),
        (ServiceError("no answer"), "no answer"),
        (ReleaseError("token-a secret-key"), "**** ****"),
        (KeyError("secret-key"), "internal error (KeyError)"),
    ],
)
@pytest.mark.usefixtures("clock")
def test_failed_release_keeps_its_entry_and_the_reason(
    vendor: FakeVendor, journal: Journal, order: Exception, expected: str
) -> None:
    vendor.orders = {"release token-a": order}
    entries = hold(journal, entry_of("a"), entry_of("b"))
    for failures in (1, 2):
        assert release(journal, entries) == [expected, None]
        [left] = journal.entries()
        if isinstance(order, QrmiError):
            noted = {"failure": expected, "failed_at": NOW, "failures": failures}
            assert left == entry_of("a", **noted)
        else:
            assert left == entry_of("a")
    vendor.orders = {}
    assert (release(journal, entries), list(journal.entries())) == ([None, None], [])


def test_client_that_cannot_be_made_keeps_its_entry(vendor: FakeVendor, journal: Journal) -> None:
    vendor.orders = {"make a": AcquisitionError("no key")}
    assert release(journal, hold(journal, entry_of("a"))) == ["no key"]
    assert len(list(journal.entries())) == 1


def test_unknown_type_keeps_its_entry(vendor: FakeVendor, journal: Journal) -> None:
    entries = hold(journal, entry_of("a", resource_type="of a later version"))
    text = "of a later version is no resource type that this version knows"
    assert release(journal, entries) == [text]
    assert len(list(journal.entries())) == 1


@pytest.mark.usefixtures("clock")
def test_request_without_answer_is_kept_until_it_has_ended(
    vendor: FakeVendor, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    [entry] = hold(journal, entry_of("a", None))
    text = (
        "the service never answered the request to acquire: a session may be open until "
        "2023-11-14 22:15:00 UTC at the latest"
    )
    assert entry.needs_release
    assert release(journal, [entry]) == [text]
    [kept] = journal.entries()
    assert isinstance(kept, Entry)
    assert (kept.failure, kept.needs_release) == (text, False)
    ended = hold(journal, entry_of("b", None, ends_at=NOW))
    caplog.set_level("INFO")
    caplog.clear()
    assert release(journal, ended) == [None]
    assert list(journal.entries()) == [kept]
    assert caplog.messages == [
        "name(b) of job 7: a session may be open until 2023-11-14 22:13:20 UTC at the latest, so "
        "nothing is left to release"
    ]
    assert vendor.events == []


def test_two_releasers_ask_once(
    vendor: FakeVendor, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    asked, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        go_on.wait(TOGETHER_SECONDS)

    vendor.orders = {"release token-a": wait}
    entries = hold(journal, entry_of("a"))
    outcomes: list[list[str | None]] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(release(journal, entries)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert asked.wait(TOGETHER_SECONDS)
    go_on.set()
    for thread in threads:
        thread.join(TOGETHER_SECONDS)
    assert outcomes == [[None]] * 3
    assert vendor.events.count("release token-a") == 1
    [line] = caplog.messages
    assert line.startswith("released name(a) for job 7 of user 1000 at the site's endpoint in ")


def test_releaser_that_waits_in_vain_says_so(vendor: FakeVendor, journal: Journal) -> None:
    entries = hold(journal, entry_of("a"))
    locked = journal.lock(entries[0], Deadline(0))
    assert locked is not None
    with locked:
        [error] = Releaser(journal, Deadline(0.2), LocalNetwork()).release_all(entries)
    assert str(error) == "another process is releasing it, and did not end in time"
    assert vendor.events == []
    assert list(journal.entries()) == entries


def test_entry_is_read_anew_once_it_is_locked(vendor: FakeVendor, journal: Journal) -> None:
    """The token may have come since the entry was listed."""
    hold(journal, entry_of("a"))
    assert release(journal, [entry_of("a", None)]) == [None]
    assert vendor.events_of("release") == {"token-a"}


def test_disk_that_takes_no_reason_keeps_the_entry(
    vendor: FakeVendor,
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    vendor.orders = {"release token-a": ReleaseError("down")}
    entries = hold(journal, entry_of("a"))

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    assert release(journal, entries) == ["down"]
    assert list(journal.entries()) == entries
    assert "No space left on device" in caplog.text


def test_every_set_of_variables_has_its_client(
    vendor: FakeVendor, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[dict[str, str]] = []
    monkeypatch.setattr(HttpClient, "open_with", lambda _, environment: opened.append(environment))
    environments = [{}, {"https_proxy": "p"}, {"https_proxy": "p"}]
    entries = [
        entry_of(name, node_variables=environment)
        for name, environment in zip("abc", environments, strict=True)
    ]
    assert release(journal, hold(journal, *entries)) == [None] * 3
    assert sorted(opened, key=len) == [{}, {"https_proxy": "p"}]


@pytest.mark.parametrize(
    ("environment", "trouble"),
    [
        ({"SSL_CERT_FILE": "/nowhere"}, "--env:SSL_CERT_FILE: /nowhere: cannot be read"),
        (
            {"https_proxy": "socks5://proxy"},
            "cannot prepare requests: https_proxy: write the proxy",
        ),
        ({"http_proxy": "1\0"}, "cannot prepare requests: http_proxy: write the proxy"),
    ],
)
def test_unusable_variables_keep_their_entry(
    vendor: FakeVendor, journal: Journal, environment: dict[str, str], trouble: str
) -> None:
    before = dict(os.environ)
    entries = [entry_of("a", node_variables=environment), entry_of("b")]
    first, second = release(journal, hold(journal, *entries))
    assert first is not None
    assert first.startswith(trouble)
    assert (second, len(list(journal.entries()))) == (None, 1)
    assert dict(os.environ) == before


@pytest.mark.usefixtures("clock")
def test_what_is_over_at_a_users_endpoint_is_dropped_and_the_sites_is_kept(
    vendor: FakeVendor, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.orders = {f"release token-{name}": ReleaseError("down") for name in "ab"}
    changes = {"ends_at": NOW, "failure": "x", "failed_at": NOW - 1, "failures": 3}
    entries = hold(
        journal, entry_of("a", has_users_endpoint=True, **changes), entry_of("b", **changes)
    )
    caplog.set_level("INFO")
    assert release(journal, entries) == [None, "down"]
    [kept] = journal.entries()
    assert isinstance(kept, Entry)
    assert (kept.resource_name, kept.failures) == ("b", 4)
    assert vendor.events_of("release") == {"token-b"}
    dropped = "name(a) of job 7 is dropped: its endpoint is of user 1000, and its time is over"
    [kept_text] = [text for text in caplog.messages if text != dropped]
    assert dropped in caplog.messages
    assert re.fullmatch(r"kept name\(b\) for job 7 .* in \d+\.\d s: down", kept_text)


def test_users_entries_that_hang_keep_nobody_elses_waiting(
    vendor: FakeVendor, journal: Journal
) -> None:
    """With 64 threads, 72 that hang would else take all of them for all of the time."""
    go_on = threading.Event()
    hostile = [
        entry_of(f"h{port}", uid=1001, values={"QRMI_ENDPOINT": f"https://mine:{port}"})
        for port in range(72)
    ]
    real = [entry_of(f"r{number}", failure="x", failed_at=NOW, failures=1) for number in range(2)]
    vendor.orders = {
        f"release token-{entry.resource_name}": lambda: go_on.wait(TOGETHER_SECONDS) and None
        for entry in hostile
    }
    entries = in_fair_order(hold(journal, *hostile, *real))
    releaser = Releaser(journal, Deadline(1), LocalNetwork(), entry_seconds=0.5)
    errors = releaser.release_all(entries)
    go_on.set()
    by_name = dict(zip((entry.resource_name for entry in entries), errors, strict=True))
    assert (by_name["r0"], by_name["r1"]) == (None, None)
    tried = {token for token in vendor.events_of("release") if token.startswith("token-h")}
    assert len(tried) == 16


def test_each_entry_of_many_users_has_a_deadline(
    vendor: FakeVendor, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    services = LocalNetwork.services

    def note(network: LocalNetwork, deadline: Deadline, variables: Mapping[str, str]) -> Services:
        given.append(deadline.remaining_seconds())
        return services(network, deadline, variables)

    monkeypatch.setattr(LocalNetwork, "services", note)
    entries = hold(journal, entry_of("a"), entry_of("b"))
    releaser = Releaser(journal, Deadline(60), LocalNetwork(), entry_seconds=10)
    assert releaser.release_all(entries) == [None, None]
    assert len(given) == 2
    assert all(9 < seconds <= 10 for seconds in given)
