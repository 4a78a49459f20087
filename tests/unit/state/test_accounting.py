# SPDX-License-Identifier: GPL-3.0-or-later
"""Each acquisition that is over leaves one record, whatever fails and whoever is killed."""

import os
import random
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

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


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def accounting(usage_path: Path) -> Accounting:
    return Accounting(UsageLog(usage_path), EndedBy.EXIT, lambda: "one")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: float(NOW))


@contextmanager
def full_disk() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def records_in(path: Path) -> list[dict[str, Any]]:
    """Return the records without their acquisitions' ids, all of which differ."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    records = [orjson.loads(line) for line in lines]
    ids = Counter(record.pop("acquisition_id") for record in records)
    assert set(ids.values()) <= {1}
    return records


def end(journal: Journal, accounting: Accounting, entry: Entry = ENTRY, **how: Any) -> None:
    with journal.begin(entry) as locked:
        accounting.end(locked, how.pop("result", Result.RELEASED), **how)


def names_in(journal: Journal) -> list[str]:
    return [each.file_name for each in journal.entries() if isinstance(each, Entry)]


def test_record_says_all_of_an_acquisition_and_no_secret(
    journal: Journal, accounting: Accounting, usage_path: Path
) -> None:
    end(journal, accounting)
    assert (records_in(usage_path), names_in(journal)) == ([RECORD], [])
    text = usage_path.read_text()
    assert not any(secret in text for secret in ("session-1", "secret-key", "proxy-secret"))


@pytest.mark.parametrize(
    ("entry", "how", "changes"),
    [
        (
            ENTRY,
            {"usage": Usage(2.5, 3, 400)},
            {"usage": 2.5, "usage_source": "service", "jobs": 3, "shots": 400},
        ),
        (
            replace(ENTRY, refusal="down"),
            {},
            {"result": "refused", "reason": "down"},
        ),
        (
            replace(ENTRY, token=None, granted_at=None, failure="no answer"),
            {"result": Result.UNANSWERED},
            {
                "result": "unanswered",
                "reason": "no answer",
                "session": None,
                "running": None,
                "finished": "2023-11-14T22:15:00Z",
                **dict.fromkeys(("held_seconds", "usage", "usage_source")),
            },
        ),
        (
            replace(ENTRY, failure="down", has_users_endpoint=True),
            {"result": Result.DROPPED},
            {"result": "dropped", "reason": "down"},
        ),
        (
            replace(ENTRY, token=None, holds_nothing=True, facts={"het_job_id": "6"}),
            {},
            {
                **dict.fromkeys(("session", "array_job_id", "array_task_id", *FACTS)),
                "het_job_id": 6,
            },
        ),
        (
            replace(ENTRY, step_id=3, resource_name="caf\u00e9"),
            {},
            {"step": "3", "resource": "caf\u00e9"},
        ),
        (replace(ENTRY, restart_count=0, facts={**FACTS, "restarts": "2"}), {}, {"restart": 2}),
        # Of an earlier release, which wrote less.
        (
            replace(ENTRY, acquired_at=None, owner=None, facts={}, granted_at=None),
            {},
            {
                **dict.fromkeys((*FACTS, "created", "running")),
                **dict.fromkeys(("held_seconds", "usage", "usage_source")),
                "node": os.uname().nodename,
            },
        ),
    ],
    ids=["usage", "refused", "unanswered", "dropped", "note", "odd", "restarted", "old"],
)
def test_record_says_how_it_ended(
    journal: Journal,
    accounting: Accounting,
    *,
    usage_path: Path,
    entry: Entry,
    how: dict[str, Any],
    changes: dict[str, Any],
) -> None:
    end(journal, accounting, entry, **how)
    assert records_in(usage_path) == [{**RECORD, **changes}]


def test_what_is_told_to_end_has_its_record_once_it_is_gone(
    journal: Journal, accounting: Accounting, usage_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(journal, accounting, is_gone=False)
    assert records_in(usage_path) == []
    [told] = journal.entries()
    assert isinstance(told, Entry)
    assert (told.is_told, told.token) == (True, "session-1")
    monkeypatch.setattr("time.time", lambda: NOW + 300.0)
    locked = journal.lock(told, Deadline(0))
    assert locked is not None
    with locked:
        replace(accounting, ended_by=EndedBy.TIMER).end(locked, Result.RELEASED, usage=Usage(4))
    # The job had it until it was told to end.
    changes = {"usage": 4, "usage_source": "service", "ended_by": "timer"}
    assert records_in(usage_path) == [RECORD | changes]
    assert names_in(journal) == []


def test_what_is_told_at_a_users_endpoint_is_over(
    journal: Journal, accounting: Accounting, usage_path: Path
) -> None:
    end(journal, accounting, replace(ENTRY, has_users_endpoint=True), is_gone=False)
    assert (records_in(usage_path), names_in(journal)) == ([RECORD], [])


def test_without_accounting_nothing_is_recorded(journal: Journal, usage_path: Path) -> None:
    end(journal, NO_ACCOUNTING)
    end(journal, NO_ACCOUNTING, replace(ENTRY, job_id=8), is_gone=False)
    assert not usage_path.exists()
    assert [name[:7] for name in names_in(journal)] == ["told-8-"]


def test_log_that_takes_nothing_gets_its_record_later(
    journal: Journal, accounting: Accounting, usage_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    usage_path.parent.mkdir(mode=0o777)
    usage_path.parent.chmod(0o777)
    end(journal, accounting)
    assert "what job 7 has used of ibm_a is recorded later: " in caplog.text
    [over] = journal.entries()
    assert isinstance(over, Entry)
    assert over.file_name.startswith("over-7-")
    assert (over.token, over.values, over.node_variables, over.needs_release) == (
        None,
        {},
        {},
        False,
    )
    # It is no job's any longer, and not asked for again.
    assert list(journal.entries(7)) == []
    accounting.write_late(journal, Deadline(60))
    assert not usage_path.exists()
    usage_path.parent.chmod(0o750)
    accounting.write_late(journal, Deadline(0))
    assert not usage_path.exists()
    for _ in range(2):
        accounting.write_late(journal, Deadline(60))
        assert (records_in(usage_path), names_in(journal)) == ([RECORD], [])


def test_full_disk_of_journal_and_log_costs_no_record(
    journal: Journal, accounting: Accounting, usage_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was told of how it ended is lost then, but not what was held, and when."""
    with journal.begin(ENTRY) as locked, full_disk():
        accounting.end(locked, Result.RELEASED, usage=Usage(2.5))
    assert [name[:7] for name in names_in(journal)] == ["over-7-"]
    assert not usage_path.exists() or records_in(usage_path) == []
    # When the file was renamed is told by the system's own clock.
    [over] = journal.entries_over()
    monkeypatch.setattr(LockedEntry, "written_at", lambda locked: float(NOW))
    replace(accounting, ended_by=EndedBy.TIMER).write_late(journal, Deadline(60))
    assert records_in(usage_path) == [RECORD | {"ended_by": "timer"}]
    assert names_in(journal) == []
    assert over.acquisition_id == ENTRY.acquisition_id


def test_full_disk_of_the_journal_alone_delays_nothing(
    journal: Journal, accounting: Accounting, usage_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise JournalError("full")

    monkeypatch.setattr(LockedEntry, "write", fail)
    end(journal, accounting, usage=Usage(2.5))
    assert records_in(usage_path) == [RECORD | {"usage": 2.5, "usage_source": "service"}]
    assert names_in(journal) == []


def killing(*_: object, **__: object) -> None:
    raise Killed


def killing_after(function: Callable[..., Any]) -> Callable[..., None]:
    def kill(*arguments: Any, **more: Any) -> None:
        function(*arguments, **more)
        raise Killed

    return kill


@pytest.mark.parametrize("is_disk_full", [False, True])
@pytest.mark.parametrize(
    ("owner", "name", "when"),
    [
        (LockedEntry, "write", "before"),
        (LockedEntry, "write", "after"),
        (LockedEntry, "keep_for_record", "after"),
        (UsageLog, "append", "before"),
        (UsageLog, "append", "after"),
        (LockedEntry, "remove", "before"),
        (LockedEntry, "remove", "after"),
    ],
)
def test_killed_at_any_step_leaves_one_record(
    journal: Journal,
    accounting: Accounting,
    *,
    usage_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    when: str,
    is_disk_full: bool,
) -> None:
    with monkeypatch.context() as patch:
        if is_disk_full and name != "write":
            patch.setattr(LockedEntry, "write", lambda *_: (_ for _ in ()).throw(JournalError("x")))
        function = getattr(owner, name)
        patch.setattr(owner, name, killing if when == "before" else killing_after(function))
        if name == "keep_for_record" and not is_disk_full:
            patch.setattr(UsageLog, "append", lambda *_: (_ for _ in ()).throw(UsageLogError("x")))
        with pytest.raises(Killed):
            end(journal, accounting)
    # Whoever comes next: a job's end, its epilog or the timer, and once more.
    for _ in range(2):
        for entry in list(journal.entries()):
            assert isinstance(entry, Entry)
            locked = None if entry.is_over else journal.lock(entry, Deadline(0))
            if locked is not None:
                with locked:
                    accounting.end(locked, Result.RELEASED)
        accounting.write_late(journal, Deadline(60))
    assert len(records_in(usage_path)) == 1
    assert names_in(journal) == []


def test_killed_writer_whose_log_was_rotated_meanwhile_is_not_repeated(
    journal: Journal, accounting: Accounting, usage_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(LockedEntry, "remove", killing)
        with pytest.raises(Killed):
            end(journal, accounting)
    usage_path.rename(usage_path.with_name("usage.jsonl-20231115"))
    [entry] = journal.entries()
    assert isinstance(entry, Entry)
    locked = journal.lock(entry, Deadline(0))
    assert locked is not None
    with locked:
        accounting.end(locked, Result.RELEASED)
    assert (usage_path.exists(), names_in(journal)) == (False, [])


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
import sys
from pathlib import Path
from spank_qrmi.deadline import Deadline
from spank_qrmi.state.accounting import Accounting, EndedBy, Result
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.usage_log import UsageLog
from spank_qrmi.usage import Usage

journal = Journal(Path(sys.argv[1]))
accounting = Accounting(UsageLog(sys.argv[2]), EndedBy.EXIT)
number = int(sys.argv[3])

def end(entry, locked):
    with locked:
        accounting.end(locked, Result.RELEASED)

for entry in journal.entries():
    locked = None if entry.is_over else journal.lock(entry, Deadline(0))
    if locked is not None:
        end(entry, locked)
accounting.write_late(journal, Deadline(60))
print("ready", flush=True)
while True:
    number += 1
    entry = Entry(number, 0, 0, 1000, "q", "any", {}, token="t", acquired_at=1, granted_at=1)
    locked = journal.begin(entry)
    print(number, flush=True)
    end(entry, locked)
"""


def test_processes_killed_at_any_moment_leave_one_record_of_each(
    journal: Journal,
    accounting: Accounting,
    usage_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(locked_files, "YOUNGEST_LEFTOVER_SECONDS", -1)
    choice = random.Random(7)
    begun: set[int] = set()
    for turn in range(25):
        first = str(turn * 1_000_000)
        command = [sys.executable, "-c", WORKER, str(tmp_path / "journal"), str(usage_path), first]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
            for _ in range(choice.randint(1, 20)):
                begun.add(int(worker.stdout.readline()))
            for _ in range(choice.randint(0, 3000)):
                pass
            worker.kill()
            begun |= {int(line) for line in worker.stdout.read().splitlines() if line.isdigit()}
    journal.clean_up()
    for entry in list(journal.entries()):
        assert isinstance(entry, Entry)
        locked = None if entry.is_over else journal.lock(entry, Deadline(0))
        if locked is not None:
            begun.add(entry.job_id)
            with locked:
                accounting.end(locked, Result.RELEASED)
    accounting.write_late(journal, Deadline(60))
    recorded = Counter(record["job_id"] for record in records_in(usage_path))
    assert set(recorded.values()) == {1}
    # One that was killed had perhaps begun what it had not told of yet.
    assert begun <= set(recorded)
    assert names_in(journal) == []
