# SPDX-License-Identifier: GPL-3.0-or-later
"""Where results go: files that are replaced as a whole, links, pipes, standard output."""

import os
import threading
from io import BytesIO
from pathlib import Path
from unittest.mock import Mock

import pytest

from spank_qrmi.qrun.outcome import ExitStatus, QrunError
from spank_qrmi.qrun.result_file import ResultFile
from spank_qrmi.trust.paths import name_of_user
from tests.unit.outcomes import refusal_of
from tests.unit.qrun.test_command import replaced
from tests.unit.trust.test_files import make_foreign


def write(path: Path | str | None) -> None:
    target = ResultFile(None if path is None else str(path))
    target.check()
    target.write(BytesIO(b"new"))


def test_new_file_gets_the_usual_mode(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    mask = os.umask(0o027)
    try:
        write(path)
    finally:
        os.umask(mask)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o640)
    assert [one.name for one in tmp_path.iterdir()] == ["result.json"]


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A file with an old result."""
    path = tmp_path / "result.json"
    path.write_text("old, and longer")
    return path


def test_of_the_old_files_mode_only_reading_and_writing_stays(result: Path) -> None:
    for old, new in ((0o604, 0o604), (0o6777, 0o666)):
        result.chmod(old)
        write(result)
        assert (result.read_bytes(), result.stat().st_mode & 0o7777) == (b"new", new)


@pytest.fixture(params=[0o1777, 0o1770, 0o777])
def shared(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return a folder in which others may put something, or keep what they have put there."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(request.param)
    return folder


def plant(kind: str, path: Path, victims: Path) -> None:
    """Put something there as another user would."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "file":
        path.touch()
    else:
        path.symlink_to(victims)


@pytest.mark.parametrize("kind", ["link", "pipe", "file", "dangling link", "link to a link"])
def test_what_others_put_into_a_shared_folder_is_refused(
    tmp_path: Path, shared: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, victims = shared / "result.json", tmp_path / "victims"
    late = ResultFile(str(path))
    late.check()
    if kind != "dangling link":
        victims.write_text("precious")
    planted = "link" if "link" in kind else kind
    plant(planted, path, victims)
    owner = make_foreign(path, monkeypatch)
    asked = path
    if kind == "link to a link":
        asked = tmp_path / "own link"
        asked.symlink_to("shared/../shared/result.json")
    expected = (
        f"the result cannot be written to {asked}: {path} is a {planted} of user "
        f"{name_of_user(owner)} in a folder where others may write: name a file in a folder of "
        "your own"
    )
    with pytest.raises(QrunError) as caught:
        ResultFile(str(asked)).check()
    assert str(caught.value) == expected
    # It was planted while the job ran.
    with pytest.raises(QrunError, match="in a folder where others may write"):
        late.write(BytesIO(b"new"))
    assert not victims.exists() or victims.read_text() == "precious"


def test_link_of_another_to_a_folder_is_refused(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shared / "results").symlink_to(tmp_path)
    make_foreign(shared / "results", monkeypatch)
    with pytest.raises(QrunError, match="results is a link of user"):
        ResultFile(f"{shared}/results/new.json").check()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of root's")
def test_roots_links_and_pipes_are_used_and_its_files_not(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for kind, is_refused in {"link": False, "pipe": False, "file": True}.items():
        path = shared / kind
        plant(kind, path, tmp_path / "behind")
        refusal = refusal_of(QrunError, ResultFile(str(path)).check)
        assert (refusal is not None) is is_refused, kind


def test_own_things_in_a_shared_folder_and_anybodys_in_ones_own_are_used(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victims = tmp_path / "victims"
    for kind in ("link", "pipe", "file"):
        plant(kind, shared / kind, victims)
        ResultFile(str(shared / kind)).check()
    write(shared / "link")
    write(shared / "file")
    assert victims.read_bytes() == (shared / "file").read_bytes() == b"new"
    assert (shared / "link").is_symlink()
    victims.unlink()
    plant("link", tmp_path / "result.json", victims)
    make_foreign(tmp_path / "result.json", monkeypatch)
    write(tmp_path / "result.json")
    assert victims.read_bytes() == b"new"


def test_neither_the_check_nor_failed_writing_changes_anything(result: Path) -> None:
    target = ResultFile(str(result))
    target.check()
    source = Mock(read=Mock(side_effect=[b"new", OSError(28, "No space left on device")]))
    with pytest.raises(QrunError, match="No space left on device") as caught:
        target.write(source)
    assert caught.value.status == ExitStatus.RESULT
    assert result.read_text() == "old, and longer"
    result.unlink()
    target.check()
    assert list(result.parent.iterdir()) == []


def test_pipes_and_devices_are_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.append(path.read_bytes()))
    thread.start()
    write(path)
    thread.join()
    assert (read, path.is_fifo()) == ([b"new"], True)
    # As a shell's `>(…)` gives it.
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as end, os.fdopen(writer, "wb"):
        write(Path(f"/dev/fd/{writer}"))
        assert end.read(3) == b"new"
    write(Path("/dev/null"))
    with pytest.raises(QrunError, match="No space left on device"):
        write(Path("/dev/full"))


@pytest.mark.parametrize("name", [None, "/dev/stdout", "out.txt"])
def test_standard_output_is_written_on_and_not_replaced(tmp_path: Path, name: str | None) -> None:
    output = tmp_path / "out.txt"
    with output.open("wb") as file, replaced(1, file.fileno()):
        os.write(1, b"before ")
        write(str(output) if name == "out.txt" else name)
        os.write(1, b" after")
    assert output.read_text() == "before new after"


def test_unusable_targets_are_found_by_the_check(
    result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = result.parent
    (folder / "link").symlink_to(f"../{folder.name}/link")
    os.mkfifo(folder / "pipe")
    refusals = {
        f"{folder}/nowhere/result.json": "No such file or directory",
        f"{folder}/.": "it is a folder",
        f"{result}/result.json": "Not a directory",
        f"{folder}/{'x' * 300}": "File name too long",
        f"{folder}/a\0b": "it is no file's name",
        f"{folder}/link": "Too many levels of symbolic links",
        # As an unset variable of a script gives it.
        "": "it is a folder",
        str(result): "it is write-protected",
        f"{folder}/pipe": "no permission to write to it",
    }
    # root may write everywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert {path: refusal_of(QrunError, ResultFile(path).check) for path in refusals} == {
        path: f"the result cannot be written to {path}: {why}" for path, why in refusals.items()
    }
