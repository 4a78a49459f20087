# SPDX-License-Identifier: GPL-3.0-or-later
"""Releasing what the journal holds: at once, each for itself, once, and never forgotten."""

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import Mock

import pytest

from spank_qrmi.clients.http import HttpClient
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import AcquisitionError, ReleaseError
from spank_qrmi.job.releaser import Releaser
from spank_qrmi.state.counts import Event, read_counts
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.orphans import in_fair_order
from tests.unit.fake_vendor import FakeVendor
from tests.unit.job.job_node import NOW, entries_in, entry_of
from tests.unit.local_network import LocalNetwork

TOGETHER_SECONDS = 60


def hold(journal: Journal, *entries: Entry) -> list[Entry]:
    for entry in entries:
        with journal.begin(entry):
            pass
    return list(entries)


def release(journal: Journal, entries: Sequence[Entry], seconds: float = 60) -> list[str | None]:
    """Return each error's text, None for what was released."""
    outcomes = Releaser(journal, Deadline(seconds), LocalNetwork()).release_all(entries)
    return [None if error is None else str(error) for error in outcomes]


def test_all_are_read_anew_and_released_at_once(vendor: FakeVendor, journal: Journal) -> None:
    together = threading.Barrier(3, timeout=TOGETHER_SECONDS)
    vendor.orders = {f"release token-{name}": lambda: together.wait() and None for name in "abc"}
    entries = hold(journal, *map(entry_of, "ab"), entry_of("c", has_sites_login=True))
    # The token may have come since the entry was listed.
    listed = [replace(entries[0], token=None), *entries[1:]]
    assert (release(journal, listed), entries_in(journal)) == ([None] * 3, [])
    assert vendor.events_of("release") == {"token-a", "token-b", "token-c"}
    assert vendor.settings["a"].values == {"QRMI_KEY": "secret-key"}
    is_sites = {name: settings.has_sites_login for name, settings in vendor.settings.items()}
    assert is_sites == {"a": False, "b": False, "c": True}


def test_what_became_of_each_is_counted_and_logged_once(
    vendor: FakeVendor, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    vendor.orders = {"release token-b": ReleaseError("down")}
    entries = hold(journal, *map(entry_of, "abc"))
    # What another process has released since the entries were read is not ours to tell of.
    assert [release(journal, entries) for _ in range(2)] == [[None, "down", None]] * 2
    counts = {**dict.fromkeys(Event, 0), Event.RELEASED: 2, Event.KEPT: 2}
    assert read_counts(journal.directory) == counts
    logged = [re.sub(r" in \d+\.\d s", "", text) for text in caplog.messages]
    whose = "for job 7 of user 1000 at the site's endpoint"
    assert Counter(logged) == {
        f"released name(a) {whose}": 1,
        f"kept name(b) {whose}: down": 2,
        f"released name(c) {whose}": 1,
    }
    assert vendor.events.count("release token-a") == 1


def test_what_a_service_only_agrees_to_end_is_looked_at_again(
    vendor: FakeVendor, journal: Journal
) -> None:
    """The job's end does not wait for it, and the entry is no longer the job's."""
    vendor.only_agrees = True
    site, own = entry_of("a"), entry_of("b", has_users_endpoint=True, ends_at=2 * NOW)
    assert release(journal, hold(journal, site, own)) == [None, None]
    told = entries_in(journal)
    assert told == [replace(site, is_told=True)]
    assert list(journal.entries(7)) == []
    vendor.orders = {"look again token-a": ReleaseError("still open")}
    assert release(journal, told) == ["still open"]
    [kept] = entries_in(journal)
    assert (kept.is_told, kept.failure) == (True, "still open")
    vendor.orders = {}
    assert (release(journal, [kept]), entries_in(journal)) == ([None], [])


@pytest.mark.usefixtures("no_grace")
def test_what_no_thread_has_come_to_is_kept(vendor: FakeVendor, journal: Journal) -> None:
    go_on = threading.Event()
    names = [f"q{number}" for number in range(100)]
    vendor.orders = {f"release token-{name}": lambda: go_on.wait() and None for name in names}
    entries = hold(journal, *map(entry_of, names))
    assert set(release(journal, entries, seconds=0.5)) == {"gave no result in time"}
    go_on.set()
    assert len(vendor.events_of("release")) == 64
    # All that a long outage has left is released by the next.
    vendor.orders = {}
    assert (release(journal, entries), entries_in(journal)) == ([None] * 100, [])


@pytest.mark.usefixtures("clock")
def test_failed_release_keeps_its_entry_and_the_reason(
    vendor: FakeVendor, journal: Journal
) -> None:
    vendor.orders = {
        "release token-a": ReleaseError("may still be open"),
        "release token-b": ReleaseError("token-b secret-key"),
        "release token-c": KeyError("secret-key"),
    }
    entries = hold(journal, *map(entry_of, "abcd"))
    told, masked = "may still be open", "**** ****"
    for failures in (1, 2):
        assert release(journal, entries) == [told, masked, "internal error (KeyError)", None]
        noted = {"failed_at": NOW, "failures": failures}
        failed = [entry_of("a", failure=told, **noted), entry_of("b", failure=masked, **noted)]
        assert entries_in(journal) == [*failed, entry_of("c")]
    vendor.orders = {}
    assert (release(journal, entries), entries_in(journal)) == ([None] * 4, [])


@pytest.mark.usefixtures("clock")
def test_request_without_answer_is_kept_until_it_has_ended(
    vendor: FakeVendor, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    [entry] = hold(journal, entry_of("a", token=None))
    text = (
        "the service never answered the request to acquire: a session may be open until "
        "2096-10-02 07:06:40 UTC at the latest"
    )
    assert entry.needs_release
    assert release(journal, [entry]) == [text]
    [kept] = entries_in(journal)
    assert (kept.failure, kept.needs_release) == (text, False)
    ended = hold(journal, entry_of("b", token=None, ends_at=NOW))
    caplog.set_level("INFO")
    caplog.clear()
    assert (release(journal, ended), entries_in(journal)) == ([None], [kept])
    assert caplog.messages == [
        "name(b) of job 7: a session may be open until 2023-11-14 22:13:20 UTC at the latest, so "
        "nothing is left to release"
    ]
    assert vendor.events == []


def test_releaser_waits_in_vain_for_one_that_asks_the_service(
    vendor: FakeVendor, journal: Journal
) -> None:
    [entry] = hold(journal, entry_of("a"))
    waited: list[str | None] = []
    vendor.orders = {"release token-a": lambda: waited.extend(release(journal, [entry], 0.2))}
    began_at = time.monotonic()
    assert release(journal, [entry]) == [None]
    assert time.monotonic() - began_at > 0.1
    assert waited == ["another process is releasing it, and did not end in time"]
    assert vendor.events == ["make a", "release token-a"]


def test_disk_that_takes_no_reason_keeps_the_entry(
    vendor: FakeVendor,
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    vendor.orders = {"release token-a": ReleaseError("down")}
    entries = hold(journal, entry_of("a"))
    full_disk = OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", Mock(side_effect=full_disk))
    assert (release(journal, entries), entries_in(journal)) == (["down"], entries)
    assert "No space left on device" in caplog.text


def test_every_set_of_variables_has_its_client(
    vendor: FakeVendor, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[dict[str, str]] = []
    monkeypatch.setattr(HttpClient, "open_with", lambda _, environment: opened.append(environment))
    proxy = {"https_proxy": "p"}
    entries = [entry_of("a")] + [entry_of(name, node_variables=proxy) for name in "bc"]
    assert release(journal, hold(journal, *entries)) == [None] * 3
    assert sorted(opened, key=len) == [{}, proxy]


def test_what_cannot_be_asked_for_is_kept_and_in_nobodys_way(
    vendor: FakeVendor, journal: Journal
) -> None:
    before = dict(os.environ)
    vendor.orders = {"make a": AcquisitionError("no key")}
    unusable = [
        entry_of("a"),
        entry_of("b", resource_type="of a later version"),
        entry_of("c", node_variables={"SSL_CERT_FILE": "/nowhere"}),
        entry_of("d", node_variables={"https_proxy": "socks5://proxy"}),
    ]
    no_key, no_type, certificates, proxy, other = release(
        journal, hold(journal, *unusable, entry_of("e"))
    )
    assert no_key == "no key"
    assert no_type == "of a later version is no resource type that this version knows"
    assert str(certificates).startswith("--env:SSL_CERT_FILE: /nowhere: cannot be read")
    assert str(proxy).startswith("cannot prepare requests: https_proxy: write the proxy")
    assert (other, len(entries_in(journal))) == (None, 4)
    assert vendor.events_of("release") == {"token-e"}
    assert dict(os.environ) == before


@pytest.mark.usefixtures("clock")
def test_what_is_over_at_a_users_endpoint_is_dropped_and_the_sites_is_kept(
    vendor: FakeVendor, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.orders = {f"release token-{name}": ReleaseError("down") for name in "ab"}
    changes = {"ends_at": NOW, "failure": "x", "failed_at": NOW - 1, "failures": 3}
    users = entry_of("a", has_users_endpoint=True, **changes)
    entries = hold(journal, users, entry_of("b", **changes))
    caplog.set_level("INFO")
    assert release(journal, entries) == [None, "down"]
    [kept] = entries_in(journal)
    assert (kept.resource_name, kept.failures) == ("b", 4)
    assert vendor.events_of("release") == {"token-b"}
    dropped = "name(a) of job 7 is dropped: its endpoint is of user 1000, and its time is over"
    [kept_text] = [text for text in caplog.messages if text != dropped]
    assert dropped in caplog.messages
    assert re.fullmatch(r"kept name\(b\) for job 7 .* in \d+\.\d s: down", kept_text)


@pytest.mark.usefixtures("no_grace")
def test_users_entries_that_hang_keep_nobody_elses_waiting(
    vendor: FakeVendor, journal: Journal
) -> None:
    """With 64 threads, 72 that hang would else take all of them for all of the time."""
    go_on, deadline = threading.Event(), Deadline(TOGETHER_SECONDS)
    share = 16
    together = threading.Barrier(share + 2, action=deadline.cancel, timeout=TOGETHER_SECONDS)

    def hang() -> None:
        # Until the user's share and the two of others are under way.
        together.wait()
        go_on.wait(TOGETHER_SECONDS)

    hostile = [
        entry_of(f"h{port}", uid=1001, values={"QRMI_ENDPOINT": f"https://mine:{port}"})
        for port in range(72)
    ]
    real = [entry_of(f"r{number}", failure="x", failed_at=NOW, failures=1) for number in range(2)]
    entries = in_fair_order(hold(journal, *hostile, *real))
    vendor.orders = {f"release token-{entry.resource_name}": hang for entry in entries}
    Releaser(journal, deadline, LocalNetwork(), TOGETHER_SECONDS).release_all(entries)
    tried = Counter(token[: len("token-h")] for token in vendor.events_of("release"))
    go_on.set()
    assert tried == {"token-h": share, "token-r": 2}


def test_each_entry_of_many_users_has_a_deadline(
    vendor: FakeVendor, journal: Journal, deadlines: list[float]
) -> None:
    entries = hold(journal, entry_of("a"), entry_of("b"))
    releaser = Releaser(journal, Deadline(60), LocalNetwork(), entry_seconds=10)
    assert releaser.release_all(entries) == [None, None]
    assert len(deadlines) == 2
    assert all(9 < seconds <= 10 for seconds in deadlines)
