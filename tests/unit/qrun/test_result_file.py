# SPDX-License-Identifier: GPL-3.0-or-later
"""Where results go: files that are replaced as a whole, links, pipes, standard output."""

import os
import threading
from io import BytesIO
from pathlib import Path

import pytest

from spank_qrmi.qrun.outcome import ExitStatus, QrunError
from spank_qrmi.qrun.result_file import ResultFile


class BreaksOff(BytesIO):
    """A result of which the second part cannot be read."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise OSError(28, "No space left on device")
        return super().read(3)


def write(path: Path, content: bytes = b"new") -> None:
    target = ResultFile(str(path))
    target.check()
    target.write(BytesIO(content))


def test_new_file_gets_the_usual_mode(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    mask = os.umask(0o027)
    try:
        write(path)
    finally:
        os.umask(mask)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o640)
    assert [one.name for one in tmp_path.iterdir()] == ["result.json"]


def test_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old, and longer")
    path.chmod(0o604)
    write(path)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o604)


def test_check_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    ResultFile(str(path)).check()
    assert not path.exists()
    path.write_text("old")
    ResultFile(str(path)).check()
    assert path.read_text() == "old"


def test_failed_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(QrunError, match="No space left on device") as caught:
        ResultFile(str(path)).write(BreaksOff(b"newer"))
    assert caught.value.status == ExitStatus.RESULT
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["result.json"]


def test_link_stays_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "folder" / "result.json", tmp_path / "link"
    path.parent.mkdir()
    path.write_text("old")
    link.symlink_to(path)
    write(link)
    assert (link.is_symlink(), path.read_bytes()) == (True, b"new")


def test_pipe_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.append(path.read_bytes()))
    thread.start()
    write(path)
    thread.join()
    assert read == [b"new"]
    assert path.is_fifo()


def test_device_is_written_to() -> None:
    write(Path("/dev/null"))
    with pytest.raises(QrunError, match="No space left on device"):
        write(Path("/dev/full"))


@pytest.mark.parametrize("name", [None, "/dev/stdout", "out.txt"])
def test_standard_output_is_written_on_and_not_replaced(tmp_path: Path, name: str | None) -> None:
    output = tmp_path / "out.txt"
    path = str(output) if name == "out.txt" else name
    kept = os.dup(1)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    try:
        os.write(1, b"before ")
        target = ResultFile(path)
        target.check()
        target.write(BytesIO(b"new"))
        os.write(1, b" after")
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(descriptor)
    assert output.read_text() == "before new after"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere/result.json", "No such file or directory"),
        (".", "it is a folder"),
        ("file/result.json", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("a\0b", "it is no file's name"),
    ],
)
def test_unusable_targets_are_found_by_the_check(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(QrunError) as caught:
        ResultFile(f"{tmp_path}/{path}").check()
    assert str(caught.value).endswith(f": {reason}")


def test_write_protected_file_is_found_by_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    path.touch()
    os.mkfifo(tmp_path / "pipe")
    # root may write everywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)
    for name in ("result.json", "pipe"):
        with pytest.raises(QrunError, match="write"):
            ResultFile(str(tmp_path / name)).check()


def test_empty_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an unset variable of a script gives it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QrunError, match="it is a folder") as caught:
        ResultFile("").check()
    assert caught.value.status is ExitStatus.RESULT
