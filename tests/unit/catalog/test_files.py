# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog's files: written whole, for everybody to read, and read only from who may write."""

import os
from pathlib import Path

import pytest

from spank_qrmi.catalog import files
from spank_qrmi.catalog.files import publish, read_catalog
from spank_qrmi.errors import ConfigError
from tests.unit.catalog.sample import PAUSED, catalog, entry


def test_what_is_published_is_read_from_folder_and_file(tmp_path: Path) -> None:
    published = catalog(PAUSED, entry())
    umask = os.umask(0o077)
    try:
        publish(catalog(), tmp_path)
        publish(published, tmp_path)
    finally:
        os.umask(umask)
    names = ["qpus.json", "qpus.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in names] == [0o644, 0o644]
    assert read_catalog(tmp_path) == read_catalog(tmp_path / "qpus.json") == published


def test_failing_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(catalog(entry()), tmp_path)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(ConfigError) as raised:
        publish(catalog(PAUSED), tmp_path)
    monkeypatch.undo()
    expected = f"{tmp_path}: the catalog cannot be written there: No space left on device"
    assert str(raised.value) == expected
    assert read_catalog(tmp_path) == catalog(entry())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["qpus.json", "qpus.txt"]


def test_what_a_killed_writer_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    for name, mtime in ((".new-qpus-1", 1), (".new-qpus-2", None), ("other", 1)):
        path = tmp_path / name
        path.touch()
        if mtime is not None:
            os.utime(path, (mtime, mtime))
    publish(catalog(), tmp_path)
    left = {path.name for path in tmp_path.iterdir()} - {"qpus.json", "qpus.txt"}
    assert left == {".new-qpus-2", "other"}


def test_folder_must_be_there_and_trusted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written there: No such file or directory"):
        publish(catalog(), tmp_path / "none")
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="must be writable by its owner alone"):
        publish(catalog(), folder)


def test_file_that_others_can_write_is_not_read(tmp_path: Path) -> None:
    publish(catalog(), tmp_path)
    (tmp_path / "qpus.json").chmod(0o666)
    with pytest.raises(ConfigError, match=r"qpus.json: must be writable by its owner alone"):
        read_catalog(tmp_path)


def test_missing_and_hanging_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"qpus.json: cannot be read: No such file or directory"):
        read_catalog(tmp_path)
    os.mkfifo(tmp_path / "qpus.json")
    with pytest.raises(ConfigError, match=r"qpus.json: is no regular file"):
        read_catalog(tmp_path)
