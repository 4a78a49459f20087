# SPDX-License-Identifier: GPL-3.0-or-later
"""Each acquisition that is over leaves one record, whatever fails and whoever is killed."""

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import orjson
import pytest

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import JournalError, UsageLogError
from spank_qrmi.state import locked_files
from spank_qrmi.state.accounting import NO_ACCOUNTING, Accounting, EndedBy, Result
from spank_qrmi.state.journal import Entry, Journal, LockedEntry
from spank_qrmi.state.owner import Owner
from spank_qrmi.state.usage_log import UsageLog
from spank_qrmi.usage import Usage
from tests.unit.failing_systems import killed_programs, room_for
from tests.unit.state.test_journal import lock

NOW = 1_700_000_000
FACTS = {
    "user": "alice",
    "account": "physics",
    "partition": "quantum",
    "array_job_id": "5",
    "array_task_id": "0",
}
ENTRY = Entry(
    *(7, 1, 0xFFFFFFFB, 1000, "ibm_a", "any", {"QRMI_KEY": "secret-key"}),
    token="session-1",
    acquired_at=NOW - 20,
    owner=Owner("node1", "boot", 1, 2, 3),
    node_variables={"https_proxy": "http://proxy-secret"},
    hold="a session",
    ends_at=NOW + 100,
    facts=FACTS,
    granted_at=NOW - 10,
)
RECORD = {
    "job_id": 7,
    "step": "batch",
    "restart": 1,
    "array_job_id": 5,
    "array_task_id": 0,
    "het_job_id": None,
    "het_job_offset": None,
    "uid": 1000,
    "user": "alice",
    "account": "physics",
    "partition": "quantum",
    "cluster": "one",
    "node": "node1",
    "resource": "ibm_a",
    "type": "any",
    "session": f"sha256:{sha256(b'session-1').hexdigest()[:16]}",
    "created": "2023-11-14T22:13:00Z",
    "running": "2023-11-14T22:13:10Z",
    "finished": "2023-11-14T22:13:20Z",
    "result": "released",
    "ended_by": "exit",
    "reason": None,
    "held_seconds": 10,
    "usage": 10,
    "usage_source": "held",
    "jobs": None,
    "shots": None,
}


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours handles it."""


class Books:
    """A journal, and the records of what was in it."""

    def __init__(self, folder: Path, usage_path: Path) -> None:
        self.journal = Journal(folder / "journal")
        self.path = usage_path
        self.accounting = Accounting(UsageLog(usage_path), EndedBy.EXIT, lambda: "one")
        self.timer = replace(self.accounting, ended_by=EndedBy.TIMER)

    def end(self, entry: Entry = ENTRY, result: Result = Result.RELEASED, **how: Any) -> None:
        with self.journal.begin(entry) as locked:
            self.accounting.end(locked, result, **how)

    def end_all(self) -> set[int]:
        """End what is held and write what waits, as a job's end does; return what jobs held."""
        held = [each for each in self.entries() if not each.is_over]
        for entry in held:
            with lock(self.journal, entry) as locked:
                self.accounting.end(locked, Result.RELEASED)
        self.accounting.write_late(self.journal, Deadline(60))
        return {each.job_id for each in held}

    def entries(self) -> list[Entry]:
        found = list(self.journal.entries())
        entries = [each for each in found if isinstance(each, Entry)]
        assert len(entries) == len(found)
        return entries

    def names(self) -> list[str]:
        return [each.file_name for each in self.entries()]

    def records(self) -> list[dict[str, Any]]:
        """Return the records without their acquisitions' ids, all of which differ."""
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        records = [orjson.loads(line) for line in lines]
        ids = Counter(record.pop("acquisition_id") for record in records)
        assert set(ids.values()) <= {1}
        return records

    def assert_over(self, **changes: object) -> None:
        """Claim that the journal is empty, and that there is one record with these changes."""
        assert (self.records(), self.names()) == ([RECORD | changes], [])


@pytest.fixture
def books(tmp_path: Path, usage_path: Path) -> Books:
    return Books(tmp_path, usage_path)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: float(NOW))


UNUSED = dict.fromkeys(("held_seconds", "usage", "usage_source"))


@pytest.mark.parametrize(
    ("differs", "how", "changes"),
    [
        ({}, {}, {}),
        (
            {},
            {"usage": Usage(2.5, 3, 400)},
            {"usage": 2.5, "usage_source": "service", "jobs": 3, "shots": 400},
        ),
        ({"refusal": "down"}, {}, {"result": "refused", "reason": "down"}),
        (
            {"token": None, "granted_at": None, "failure": "no answer"},
            {"result": Result.UNANSWERED},
            {
                "result": "unanswered",
                "reason": "no answer",
                "session": None,
                "running": None,
                "finished": "2023-11-14T22:15:00Z",
                **UNUSED,
            },
        ),
        (
            {"failure": "down", "has_users_endpoint": True},
            {"result": Result.DROPPED},
            {"result": "dropped", "reason": "down"},
        ),
        # What is told to end at a user's endpoint is over.
        ({"has_users_endpoint": True}, {"is_gone": False}, {}),
        (
            {"token": None, "holds_nothing": True, "facts": {"het_job_id": "6"}},
            {},
            {**dict.fromkeys(("session", *FACTS)), "het_job_id": 6},
        ),
        ({"step_id": 3, "resource_name": "café"}, {}, {"step": "3", "resource": "café"}),
        ({"restart_count": 0, "facts": {**FACTS, "restarts": "2"}}, {}, {"restart": 2}),
        # Of an earlier release, which wrote less.
        (
            {"acquired_at": None, "owner": None, "facts": {}, "granted_at": None},
            {},
            {
                **dict.fromkeys((*FACTS, "created", "running")),
                **UNUSED,
                "node": os.uname().nodename,
            },
        ),
    ],
)
def test_record_says_all_of_an_acquisition_and_no_secret(
    books: Books, differs: dict[str, Any], how: dict[str, Any], changes: dict[str, Any]
) -> None:
    books.end(replace(ENTRY, **differs), **how)
    books.assert_over(**changes)
    text = books.path.read_text()
    assert not any(secret in text for secret in ("session-1", "secret-key", "proxy-secret"))


def test_what_is_told_to_end_has_its_record_once_it_is_gone(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.end(is_gone=False)
    assert books.records() == []
    [told] = books.entries()
    assert (told.is_told, told.token) == (True, "session-1")
    monkeypatch.setattr("time.time", lambda: NOW + 300.0)
    with lock(books.journal, told) as locked:
        books.timer.end(locked, Result.RELEASED, usage=Usage(4))
    # The job had it until it was told to end.
    books.assert_over(usage=4, usage_source="service", ended_by="timer")


def test_without_accounting_nothing_is_recorded(books: Books) -> None:
    books.accounting = NO_ACCOUNTING
    books.end()
    books.end(replace(ENTRY, job_id=8), is_gone=False)
    assert not books.path.exists()
    assert [name[:7] for name in books.names()] == ["told-8-"]


def test_log_that_takes_nothing_gets_its_record_later(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    books.path.parent.mkdir(mode=0o777)
    books.path.parent.chmod(0o777)
    books.end()
    assert "what job 7 has used of ibm_a is recorded later: " in caplog.text
    [over] = books.entries()
    assert over.file_name.startswith("over-7-")
    assert (over.token, over.values, over.node_variables) == (None, {}, {})
    # It is no job's any longer, and not asked for again.
    assert not over.needs_release
    assert list(books.journal.entries(7)) == []
    books.accounting.write_late(books.journal, Deadline(60))
    assert not books.path.exists()
    books.path.parent.chmod(0o750)
    books.accounting.write_late(books.journal, Deadline(0))
    assert not books.path.exists()
    for _ in range(2):
        books.accounting.write_late(books.journal, Deadline(60))
        books.assert_over()


def test_full_disk_costs_no_record(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    # That of the journal alone delays nothing.
    with monkeypatch.context() as patch:
        patch.setattr(LockedEntry, "write", Mock(side_effect=JournalError("full")))
        books.end(usage=Usage(2.5))
    books.assert_over(usage=2.5, usage_source="service")
    books.path.unlink()
    # What was told of how it ended is lost if the log has no room too, but not what was held.
    with books.journal.begin(ENTRY) as locked, room_for(0):
        books.accounting.end(locked, Result.RELEASED, usage=Usage(2.5))
    assert [name[:7] for name in books.names()] == ["over-7-"]
    assert books.records() == []
    # When the file was renamed is told by the system's own clock.
    [over] = books.journal.entries_over()
    monkeypatch.setattr(LockedEntry, "written_at", lambda locked: float(NOW))
    books.timer.write_late(books.journal, Deadline(60))
    books.assert_over(ended_by="timer")
    assert over.acquisition_id == ENTRY.acquisition_id


def killed(when: str, function: Callable[..., Any]) -> Callable[..., None]:
    def kill(*arguments: Any, **more: Any) -> None:
        if when == "after":
            function(*arguments, **more)
        raise Killed

    return kill


@pytest.mark.parametrize("is_disk_full", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        *((LockedEntry, "write"), (LockedEntry, "keep_for_record")),
        *((UsageLog, "append"), (LockedEntry, "remove")),
    ],
)
def test_killed_at_any_step_leaves_one_record(
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
    *,
    owner: type,
    name: str,
    when: str,
    is_disk_full: bool,
) -> None:
    with monkeypatch.context() as patch:
        if is_disk_full and name != "write":
            patch.setattr(LockedEntry, "write", Mock(side_effect=JournalError("x")))
        patch.setattr(owner, name, killed(when, getattr(owner, name)))
        if name == "keep_for_record" and not is_disk_full:
            patch.setattr(UsageLog, "append", Mock(side_effect=UsageLogError("x")))
        with pytest.raises(Killed):
            books.end()
    # Whoever comes next: a job's end, its epilog or the timer, and once more.
    for _ in range(2):
        books.end_all()
    assert (len(books.records()), books.names()) == (1, [])


def test_acquisitions_have_ids_of_their_own_that_stay() -> None:
    others = [
        replace(ENTRY, job_id=8),
        replace(ENTRY, restart_count=2),
        replace(ENTRY, resource_name="ibm_b"),
        replace(ENTRY, acquired_at=NOW),
        replace(ENTRY, owner=Owner("node2", "boot", 1, 2, 3)),
        replace(ENTRY, owner=Owner("node1", "another boot", 1, 2, 3)),
    ]
    assert len({each.acquisition_id for each in (ENTRY, *others)}) == 7
    later = replace(ENTRY, token=None, is_told=True, record="{}", failure="down")
    assert later.acquisition_id == ENTRY.acquisition_id
    assert replace(later, is_told=False, is_over=True).acquisition_id == ENTRY.acquisition_id


WORKER = """
from pathlib import Path
from spank_qrmi.deadline import Deadline
from spank_qrmi.state.accounting import Accounting, EndedBy, Result
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.usage_log import UsageLog

journal = Journal(Path(sys.argv[1]))
accounting = Accounting(UsageLog(sys.argv[2]), EndedBy.EXIT)

def end(entry, locked):
    with locked:
        accounting.end(locked, Result.RELEASED)

def work(turn):
    for entry in journal.entries():
        locked = None if entry.is_over else journal.lock(entry, Deadline(0))
        if locked is not None:
            end(entry, locked)
    accounting.write_late(journal, Deadline(60))
    number = turn * 1_000_000
    values = {"QRMI_KEY": "x" * 10_000}
    while True:
        number += 1
        entry = Entry(number, 0, 0, 1000, "q", "any", values, "t", acquired_at=1, granted_at=1)
        locked = journal.begin(entry)
        print(number, flush=True)
        end(entry, locked)
"""


def test_processes_killed_at_any_moment_leave_one_record_of_each(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locked_files, "YOUNGEST_LEFTOVER_SECONDS", float("-inf"))
    choice = random.Random(7)
    begun: set[int] = set()
    with killed_programs(WORKER, str(books.journal.directory), str(books.path)) as work_and_die:
        for turn in range(25):
            begun |= {int(line) for line in work_and_die(turn, choice.randint(1, 20))}
            assert len(books.entries()) <= 1
    books.journal.clean_up()
    begun |= books.end_all()
    recorded = {record["job_id"] for record in books.records()}
    # One that was killed had perhaps begun what it had not told of yet.
    assert begun <= recorded
    assert len(books.records()) == len(recorded)
    assert [*books.journal.directory.iterdir()] == []
