# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal on disk: whole entries, root's alone, nothing foreign and nothing lost."""

import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import orjson
import pytest

from spank_qrmi.errors import JournalError
from spank_qrmi.journal import Entry, Journal

ENTRY = Entry(7, 0, 0xFFFFFFFB, 1000, "a/ü", "any", {"QRMI_KEY": "secret"})
NO_ENTRY = "is no entry of this journal: look at it, then remove it"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lib" / "spank_qrmi"


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def entries_in(folder: Path, entry: Entry = ENTRY) -> list[Entry | JournalError]:
    return list(Journal(folder).entries_of_step(entry.job_id, entry.restart_count, entry.step_id))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folder_and_entries_are_their_owners_alone(folder: Path, open_umask: None) -> None:
    Journal(folder).write(ENTRY)
    [path] = folder.iterdir()
    assert (mode_of(folder), mode_of(path)) == (0o700, 0o600)


def test_what_is_written_is_read(folder: Path) -> None:
    journal = Journal(folder)
    journal.write(ENTRY)
    assert entries_in(folder) == [ENTRY]
    with_token = replace(ENTRY, token="t")
    journal.write(with_token)
    assert entries_in(folder) == [with_token]
    journal.remove(ENTRY)
    journal.remove(ENTRY)
    assert entries_in(folder) == []


@pytest.mark.parametrize(
    "other",
    [
        replace(ENTRY, job_id=77),
        replace(ENTRY, restart_count=1),
        replace(ENTRY, step_id=0),
        replace(ENTRY, step_id=0xFFFFFFFA),
    ],
)
def test_other_steps_entries_are_not_seen(folder: Path, other: Entry) -> None:
    Journal(folder).write(ENTRY)
    Journal(folder).write(other)
    assert (entries_in(folder), entries_in(folder, other)) == ([ENTRY], [other])


def test_every_resource_of_a_step_has_its_entry(folder: Path) -> None:
    names = ["a", "b", "../a", "x" * 128, "\udcff".encode("utf-8", "surrogateescape").hex()]
    written = [replace(ENTRY, resource_name=name) for name in names]
    for entry in written:
        Journal(folder).write(entry)
    found = entries_in(folder)
    assert sorted(map(repr, found)) == sorted(map(repr, written))
    assert len(list(folder.iterdir())) == len(names)


def test_empty_or_missing_folder_holds_nothing(folder: Path) -> None:
    assert entries_in(folder) == []
    folder.mkdir(parents=True)
    assert entries_in(folder) == []


def test_write_that_fails_leaves_the_old_entry(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Journal(folder).write(ENTRY)

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(JournalError) as caught:
        Journal(folder).write(replace(ENTRY, token="t"))
    expected = f"cannot record the acquisition in {folder}: No space left on device"
    assert str(caught.value) == expected
    assert entries_in(folder) == [ENTRY]
    assert len(list(folder.iterdir())) == 1


def test_value_that_is_not_utf8_is_refused(folder: Path) -> None:
    """A user may bring any bytes; they must not end as an internal error."""
    with pytest.raises(JournalError) as caught:
        Journal(folder).write(replace(ENTRY, values={"QRMI_X": "\udcff"}))
    expected = f"cannot record the acquisition in {folder}: a value is not UTF-8"
    assert str(caught.value) == expected
    assert list(folder.iterdir()) == []


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "spank_qrmi"
    with pytest.raises(JournalError) as caught:
        Journal(folder).write(ENTRY)
    assert str(caught.value) == f"cannot record the acquisition in {folder}: Not a directory"
    with pytest.raises(JournalError) as caught:
        Journal(folder).remove(ENTRY)
    assert str(caught.value) == f"cannot remove {ENTRY.file_name} from {folder}: Not a directory"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"\xff",
        orjson.dumps({**asdict(ENTRY), "more": 1}),
        orjson.dumps({key: value for key, value in asdict(ENTRY).items() if key != "values"}),
        orjson.dumps({**asdict(ENTRY), "job_id": "7"}),
        orjson.dumps({**asdict(ENTRY), "resource_name": 7}),
        orjson.dumps({**asdict(ENTRY), "resource_type": None}),
        orjson.dumps({**asdict(ENTRY), "token": 7}),
        orjson.dumps({**asdict(ENTRY), "values": ["QRMI_KEY"]}),
        orjson.dumps({**asdict(ENTRY), "values": {"QRMI_KEY": 1}}),
        orjson.dumps({**asdict(ENTRY), "resource_name": "another"}),
        orjson.dumps({**asdict(ENTRY), "job_id": 8}),
    ],
    ids=lambda content: content[:20] if isinstance(content, bytes) else None,
)
def test_file_that_is_no_entry_is_reported_and_kept(folder: Path, content: bytes) -> None:
    other = replace(ENTRY, resource_name="b")
    Journal(folder).write(other)
    path = folder / ENTRY.file_name
    path.write_bytes(content)
    found = entries_in(folder)
    assert [each for each in found if isinstance(each, Entry)] == [other]
    errors = [str(each) for each in found if isinstance(each, JournalError)]
    assert errors == [f"{path}: {NO_ENTRY}"]
    assert path.read_bytes() == content


def test_entry_cut_anywhere_is_reported(folder: Path) -> None:
    Journal(folder).write(ENTRY)
    path = folder / ENTRY.file_name
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert [str(each) for each in entries_in(folder)] == [f"{path}: {NO_ENTRY}"]


def test_folder_in_an_entrys_place_is_reported(folder: Path) -> None:
    (folder / ENTRY.file_name).mkdir(parents=True)
    assert [type(each) for each in entries_in(folder)] == [JournalError]


def test_files_of_others_are_left_alone(folder: Path) -> None:
    Journal(folder).write(ENTRY)
    for name in (".tmp1234", "7-0-fffffffb-note.txt", "README"):
        (folder / name).write_text("not ours")
    assert entries_in(folder) == [ENTRY]


def test_secrets_are_left_out_of_repr() -> None:
    assert "secret" not in repr(replace(ENTRY, token="secret"))
