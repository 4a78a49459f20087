# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal on disk: whole entries, root's alone, nothing foreign and nothing lost."""

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.targets.journal import check_journal
from fuzz.targets.scratch import folder_in_memory
from spank_qrmi.clients import CLIENTS
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import JournalError
from spank_qrmi.state.journal import Entry, Journal, LockedEntry
from spank_qrmi.state.owner import Owner
from tests.unit.failing_systems import room_for
from tests.unit.outcomes import WRITABLE, refusal_of, trying
from tests.unit.strategies import json_values, maybe_wrong, texts

ENTRY = Entry(
    *(7, 0, 0xFFFFFFFB, 1000, "a/ü", "any", {"QRMI_KEY": "secret"}),
    acquired_at=1_700_000_000,
    owner=Owner("host", "boot", 1, 2, 3),
    node_variables={"https_proxy": "http://proxy"},
    ends_at=1_700_000_100,
)


NO_ENTRY = "is no entry of this journal ({}): look at it, then remove it"


def document_of(entry: Entry) -> dict[str, Any]:
    """Return an entry as it stands on disk."""
    document = asdict(entry)
    document["environment"] = document.pop("node_variables")
    return document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lib" / "spank_qrmi"


def entries_in(folder: Path, entry: Entry = ENTRY) -> list[Entry | JournalError]:
    return list(Journal(folder).entries_of_step(entry.job_id, entry.restart_count, entry.step_id))


def write(folder: Path, entry: Entry = ENTRY) -> Path:
    """Put an entry there, and end its lock; return its file."""
    with Journal(folder).begin(entry):
        return folder / entry.file_name


def lock(journal: Journal, entry: Entry = ENTRY, deadline: Deadline | None = None) -> LockedEntry:
    locked = journal.lock(entry, deadline or Deadline(0))
    assert locked is not None
    return locked


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def assert_one_is_no_entry(folder: Path, path: Path, reason: str) -> None:
    """Claim that this file is told of, and that what else there is in the step is `OTHER`."""
    found = entries_in(folder)
    assert [each for each in found if isinstance(each, Entry)] == [OTHER]
    errors = [str(each) for each in found if isinstance(each, JournalError)]
    assert errors == [f"{path}: {NO_ENTRY.format(reason)}"]


OTHER = replace(ENTRY, resource_name="b")


def test_folder_and_entries_are_their_owners_alone(folder: Path) -> None:
    assert entries_in(folder) == []
    before = os.umask(0)
    try:
        locked = Journal(folder).begin(ENTRY)
    finally:
        os.umask(before)
    with locked:
        path = folder / ENTRY.file_name
        modes = [stat.S_IMODE(each.stat().st_mode) for each in (folder, path)]
        assert (modes, orjson.loads(path.read_bytes())) == ([0o700, 0o600], document_of(ENTRY))
        locked.remove()
        locked.remove()
    assert (entries_in(folder), names_in(folder)) == ([], set())


def test_every_resource_of_a_step_has_its_entry(folder: Path) -> None:
    names = ["a", "b", "../a", "x" * 128, "\udcff".encode("utf-8", "surrogateescape").hex()]
    written = [replace(ENTRY, resource_name=name) for name in names]
    written += [replace(ENTRY, acquired_at=acquired_at) for acquired_at in (None, 1, 2)]
    written.append(replace(ENTRY, owner=Owner("host", "boot", 1, 4, 3)))
    for entry in written:
        write(folder, entry)
    found = entries_in(folder)
    assert sorted(map(repr, found)) == sorted(map(repr, written))
    assert len(list(folder.iterdir())) == len(written)


def test_write_that_fails_or_is_not_safe_on_disk_leaves_what_was_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(parents=True, mode=0o700)
    syncs = [None, OSError(errno.EIO, "Input/output error"), None]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", Mock(side_effect=syncs))
        refusal = refusal_of(JournalError, write, folder)
    assert refusal == f"cannot record the acquisition in {folder}: Input/output error"
    assert names_in(folder) == set()
    write(folder)
    with lock(Journal(folder)) as locked, room_for(100):
        refusal = refusal_of(JournalError, locked.write, replace(ENTRY, token="t"))
    assert refusal == f"cannot record the acquisition in {folder}: File too large"
    assert (entries_in(folder), names_in(folder)) == ([ENTRY], {ENTRY.file_name})


def test_value_that_cannot_be_kept_is_refused(folder: Path) -> None:
    for value, reason in (
        # A user may bring any bytes; they must not end as an internal error.
        ("\udcff", "a value is not UTF-8"),
        # What a user exports counts as JSON has it, which has two bytes for each of these.
        (
            '"' * 8 * 1024,
            "the variables that a release of a/ü needs are larger than 16 KiB: export shorter ones",
        ),
    ):
        refusal = refusal_of(JournalError, write, folder, replace(ENTRY, values={"QRMI_X": value}))
        assert refusal == f"cannot record the acquisition in {folder}: {reason}"
        assert not folder.exists()
    # What comes later is limited where it comes from.
    with Journal(folder).begin(replace(ENTRY, values={"QRMI_X": '"' * 7_500})) as locked:
        whole = replace(locked.entry, token="t" * 4_000).with_failure('"' * 10_000, 1)
        locked.write(whole)
    assert (entries_in(folder), len(whole.failure)) == ([whole], 1_000)


def put_entry_of_an_earlier_release(folder: Path, entry: Entry) -> Path:
    """Put an entry there as large as it was then, which `begin` refuses."""
    os.close(Journal(folder).put(entry))
    return folder / entry.file_name


RUNTIME = replace(ENTRY, resource_type="qiskit-runtime-service", token="t")
NEEDED = {"QRMI_IBM_QRS_IAM_APIKEY": "key"}


def test_large_entries_of_an_earlier_release_are_read_one_by_one_as_a_release_needs_them(
    folder: Path,
) -> None:
    needed = [replace(RUNTIME, job_id=job_id, values=NEEDED) for job_id in range(10, 50)]
    for entry in needed:
        values = {**NEEDED, "QRMI_X": "x" * 800_000}
        put_entry_of_an_earlier_release(folder, replace(entry, values=values))
    tracemalloc.start()
    try:
        assert list(Journal(folder).entries()) == needed
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 16_000_000


def test_huge_entry_stops_no_other(folder: Path) -> None:
    write(folder)
    for reason, values in {
        "larger than 32 KiB": {"QRMI_IBM_QRS_IAM_APIKEY": "x" * 40_000},
        "larger than 1 MiB": {"QRMI_X": "x" * 1024 * 1024},
    }.items():
        huge = put_entry_of_an_earlier_release(folder, replace(RUNTIME, job_id=6, values=values))
        first, second = Journal(folder).entries()
        assert (str(first), second) == (f"{huge}: {NO_ENTRY.format(reason)}", ENTRY)


WRONG_FIELDS: list[dict[str, object]] = [
    {"job_id": "7"},
    {"token": 7},
    {"values": ["QRMI_KEY"]},
    {"values": {"QRMI_KEY": 1}},
    {"failed_at": -(2**62)},
    {"ends_at": 253_402_300_800},
    {"owner": 7},
    {"owner": {"pid": 7}},
    {"owner": {**document_of(ENTRY)["owner"], "pid": "7"}},
    {"secret_keys": "QRMI_X"},
    {"secret_keys": [1]},
]
NO_ENTRIES = {
    "no object": b"null",
    "without values": orjson.dumps(document_of(ENTRY)).replace(b'"values"', b'"others"'),
    **{str(fields): orjson.dumps({**document_of(ENTRY), **fields}) for fields in WRONG_FIELDS},
}


def test_file_that_is_no_entry_is_reported_and_kept(folder: Path) -> None:
    write(folder, OTHER)
    path = write(folder)
    whole = path.read_bytes()
    cut = {f"cut at {length}": whole[:length] for length in range(len(whole))}
    for name, content in {**NO_ENTRIES, **cut}.items():
        path.write_bytes(content)
        with trying(name):
            assert_one_is_no_entry(folder, path, "its content is not one")
            assert path.read_bytes() == content
    path.write_bytes(orjson.dumps({**document_of(ENTRY), "resource_name": "another"}))
    assert_one_is_no_entry(folder, path, "it has another entry's name")


def test_entry_of_which_a_crash_left_the_name_alone_goes(folder: Path) -> None:
    whole = write(folder)
    with Journal(folder).begin(OTHER, outlasts_crash=False):
        path = folder / OTHER.file_name
    os.truncate(path, 0)
    Journal(folder).clean_up()
    # Its writer may be at work still.
    assert path.exists()
    for each in (path, whole):
        os.utime(each, (1, 1))
    Journal(folder).clean_up()
    assert names_in(folder) == {whole.name}


def test_file_that_others_may_have_made_is_reported(folder: Path) -> None:
    write(folder, OTHER)
    path = write(folder)
    path.chmod(0o620)
    assert_one_is_no_entry(folder, path, "others can write it")
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        assert_one_is_no_entry(folder, path, "others can write it")
    path.rename(folder / "elsewhere")
    path.symlink_to("elsewhere")
    assert_one_is_no_entry(folder, path, "a symbolic link")
    path.unlink()
    os.mkfifo(path)
    assert_one_is_no_entry(folder, path, "not a regular file")


def test_folder_that_others_can_write_or_that_is_none_is_not_used(folder: Path) -> None:
    write(folder)
    folder.chmod(0o770)
    journal = Journal(folder)
    calls: dict[str, Callable[[], object]] = {
        "cannot read": journal.entries,
        "cannot clean up": journal.clean_up,
        "cannot record the acquisition in": lambda: journal.begin(ENTRY),
        f"cannot remove {ENTRY.file_name} from": lambda: journal.take_away(ENTRY),
        f"cannot lock {ENTRY.file_name} in": lambda: lock(journal),
    }
    refusal = f"{folder}: {WRITABLE} {folder}, or name another folder by --state-dir"
    assert [refusal_of(JournalError, call) for call in calls.values()] == [refusal] * 5
    folder.chmod(0o700)
    assert entries_in(folder) == [ENTRY]
    shutil.rmtree(folder)
    folder.touch()
    for doing, call in calls.items():
        assert refusal_of(JournalError, call) == f"{doing} {folder}: Not a directory"


def test_entries_of_other_releases_are_read(folder: Path) -> None:
    path = write(folder)
    more = {"of_a_newer_release": {"a": 1}}
    document = {**document_of(ENTRY), "owner": {**document_of(ENTRY)["owner"], **more}, **more}
    path.write_bytes(orjson.dumps(document))
    assert entries_in(folder) == [ENTRY]
    path.unlink()
    # Early ones had no times, no owner and no environment, and the resource alone in their name.
    old = Entry(7, 0, 0xFFFFFFFB, 1000, "a", "any", {"K": "v"}, "t", has_users_endpoint=False)
    names = ["job_id", "restart_count", "step_id", "uid", "resource_name", "resource_type"]
    document = {name: getattr(old, name) for name in [*names, "values", "token"]}
    digest = hashlib.sha256(b"a").hexdigest()[:16]
    (folder / f"7-0-fffffffb-{digest}.json").write_bytes(orjson.dumps(document))
    assert entries_in(folder) == [old]


def test_entries_of_a_step_and_of_a_job_and_all(folder: Path) -> None:
    changes: list[dict[str, Any]] = [{}, {"restart_count": 1}, {"step_id": 0}, {"job_id": 77}]
    entries = [replace(ENTRY, **change) for change in changes]
    for entry in entries:
        write(folder, entry)
    assert [entries_in(folder, entry) for entry in entries] == [[entry] for entry in entries]
    journal = Journal(folder)
    assert sorted(map(repr, journal.entries())) == sorted(map(repr, entries))
    assert sorted(map(repr, journal.entries(7))) == sorted(map(repr, entries[:3]))
    assert list(journal.entries(70)) == []
    for index, entry in enumerate(entries):
        os.utime(folder / entry.file_name, (index, index))
    assert list(journal.entries_before(2)) == entries[:2]


def test_lock_is_one_processes_at_a_time_and_of_no_spoilt_entry(folder: Path) -> None:
    journal = Journal(folder)
    with journal.begin(ENTRY) as locked:
        for state in (ENTRY, replace(ENTRY, token="t")):
            locked.write(state)
            with pytest.raises(JournalError, match="another process is releasing it"):
                lock(journal)
    with lock(journal) as again:
        assert again.entry == replace(ENTRY, token="t")
    path = folder / ENTRY.file_name
    path.write_bytes(b"{")
    refusal = refusal_of(JournalError, lock, journal)
    assert refusal == f"{path}: {NO_ENTRY.format('its content is not one')}"


def test_who_waits_for_a_lock_sees_what_was_done(folder: Path) -> None:
    journal = Journal(folder)
    write(folder)
    with ThreadPoolExecutor() as pool:
        with lock(journal) as locked:
            waiting = pool.submit(lock, journal, deadline=Deadline(60))
            assert wait([waiting], 0.01).not_done == {waiting}
            locked.write(replace(ENTRY, failure="x"))
        with waiting.result() as locked:
            assert locked.entry == replace(ENTRY, failure="x")
            waiting_in_vain = pool.submit(journal.lock, ENTRY, Deadline(60))
            assert wait([waiting_in_vain], 0.01).not_done == {waiting_in_vain}
            locked.remove()
        assert waiting_in_vain.result() is None


def leave_behind(folder: Path, name: str, content: bytes) -> None:
    """Put a file there long ago."""
    (folder / name).write_bytes(content)
    os.utime(folder / name, (1, 1))


def test_leftovers_of_a_crash_are_removed_and_no_other_files(folder: Path) -> None:
    write(folder)
    for number, content in enumerate([b"", b"{", orjson.dumps(document_of(ENTRY))]):
        leave_behind(folder, f".new-{number}", content)
    kept = {".new-busy", ".tmp1234", "7-0-fffffffb-note.txt", "README"}
    for name in kept:
        leave_behind(folder, name, b"")
    (folder / ".new-young").touch()
    with (folder / ".new-busy").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        Journal(folder).clean_up()
    assert entries_in(folder) == [ENTRY]
    assert names_in(folder) == {ENTRY.file_name, ".new-young", *kept}


def test_token_that_did_not_reach_its_entry_is_found(folder: Path) -> None:
    journal, with_token = Journal(folder), replace(ENTRY, token="t")
    path = write(folder)
    leave_behind(folder, ".new-1", orjson.dumps(document_of(with_token)))
    with lock(journal):
        journal.clean_up()
    assert names_in(folder) == {path.name, ".new-1"}
    journal.clean_up()
    assert (entries_in(folder), names_in(folder)) == ([with_token], {path.name})
    # It takes no other one's place.
    leave_behind(folder, ".new-2", orjson.dumps(document_of(replace(ENTRY, token="other"))))
    journal.clean_up()
    assert (entries_in(folder), names_in(folder)) == ([with_token], {path.name})
    # Of what was released meanwhile it is forgotten.
    journal.take_away(ENTRY)
    leave_behind(folder, ".new-1", orjson.dumps(document_of(with_token)))
    journal.clean_up()
    assert names_in(folder) == set()


def test_shared_folder_whose_locks_take_a_writer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS makes flock(2) a lock of fcntl(2), which an exclusive one refuses to a mere reader."""
    flock = fcntl.flock

    def lock_of_writer(descriptor: int, operation: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_of_writer)
    write(folder)
    leave_behind(folder, ".new-1", b"")
    Journal(folder).clean_up()
    with lock(Journal(folder)) as locked:
        locked.write(replace(ENTRY, token="t"))
        locked.remove()
    assert names_in(folder) == set()


def test_read_only_folder_gives_its_locks_and_keeps_what_it_has(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder)
    open_file = os.open
    read_only = Mock(side_effect=OSError(errno.EROFS, "Read-only file system"))

    def open_to_read(path: str, flags: int, *arguments: int, **more: int) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            read_only()
        return open_file(path, flags, *arguments, **more)

    monkeypatch.setattr(os, "open", open_to_read)
    monkeypatch.setattr(os, "unlink", read_only)
    text = f"cannot remove {ENTRY.file_name} from {folder}: Read-only file system"
    with lock(Journal(folder)) as locked:
        assert locked.entry == ENTRY
        assert refusal_of(JournalError, locked.remove) == text
    assert entries_in(folder) == [ENTRY]


def test_what_may_be_open_has_an_end() -> None:
    entry = replace(ENTRY, hold="a session")
    assert entry.may_be_open_text == (
        "a session may be open until 2023-11-14 22:15:00 UTC at the latest"
    )
    assert (entry.has_ended(1_700_000_099), entry.has_ended(1_700_000_100)) == (False, True)
    assert not replace(entry, token="t").has_ended(1_700_000_100)
    unknown = replace(entry, ends_at=None)
    assert unknown.may_be_open_text == "a session may be open at the service"
    assert not unknown.has_ended(1_700_000_100)


def test_secrets_are_shown_neither_by_repr_nor_in_a_cleared_text() -> None:
    secret = {"QRMI_KEY": "any-value"}
    entry = replace(ENTRY, values=secret, token="any-token", node_variables=secret)
    assert "any-" not in repr(entry)
    # Values of files are secret whatever their name.
    values = {"QRMI_PLAIN": "plain-secret", "QRMI_SHOWN": "shown-value"}
    entry = replace(ENTRY, values=values, secret_keys=["QRMI_PLAIN", "QRMI_GONE"])
    assert entry.clear("plain-secret\nshown-value") == "****?shown-value"


NUMBERS = st.integers(0, 2**32 - 1)
TIMES = st.integers(0, 253_402_300_799)
BY_TYPE: dict[object, st.SearchStrategy[object]] = {
    int: NUMBERS,
    int | None: st.none() | TIMES,
    bool: st.booleans(),
    str: texts,
    str | None: st.none() | texts,
    list[str]: st.lists(texts, max_size=3),
    dict[str, str]: st.dictionaries(texts, texts, max_size=3),
    Owner | None: st.none() | st.builds(Owner, texts, texts, NUMBERS, NUMBERS, NUMBERS),
}
ENTRIES = st.builds(
    Entry,
    **{each.name: BY_TYPE[each.type] for each in fields(Entry)}
    | {"resource_type": st.one_of(st.sampled_from(list(CLIENTS)), texts)}
    # They are held, and to be released.
    | dict.fromkeys(("is_told", "is_given_back", "holds_nothing", "is_over"), st.just(False))
    | {"record": st.just("")},
)


@pytest.fixture(scope="module")
def shared_folder() -> Path:
    return folder_in_memory()


@given(entry=ENTRIES, token=texts)
def test_entry_is_read_as_it_was_written_until_it_is_removed(
    shared_folder: Path, entry: Entry, token: str
) -> None:
    journal = Journal(shared_folder)
    with journal.begin(entry) as begun:
        assert list(journal.entries()) == [entry]
        begun.write(replace(entry, token=token))
    assert list(journal.entries(entry.job_id)) == [replace(entry, token=token)]
    with lock(journal, entry) as locked:
        locked.remove()
    assert list(shared_folder.iterdir()) == []


@given(entry=ENTRIES, changes=st.data())
def test_any_entry_is_shown_and_released_and_one_with_wrong_types_told_in_one_line(
    entry: Entry, changes: st.DataObject
) -> None:
    document = document_of(entry)
    check_journal(orjson.dumps(document))
    key = changes.draw(st.sampled_from(sorted(document)))
    document[key] = changes.draw(json_values())
    if isinstance(document["owner"], dict) and document["owner"]:
        part = changes.draw(st.sampled_from(sorted(document["owner"])))
        document["owner"][part] = changes.draw(maybe_wrong(st.just(document["owner"][part])))
    check_journal(orjson.dumps(document))
