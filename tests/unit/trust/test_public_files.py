# SPDX-License-Identifier: GPL-3.0-or-later
"""A file for everybody is whole, readable whatever the umask, and put where only root can."""

import os
import stat
from pathlib import Path

import pytest

from spank_qrmi.errors import ConfigError
from spank_qrmi.trust.public_files import write_public_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "qpu.prom"


def test_everybody_may_read_it_and_root_alone_write(path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_public_file(path, b"text")
    finally:
        os.umask(before)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"text", 0o644)


def test_former_file_or_link_is_replaced_not_written_to(path: Path, tmp_path: Path) -> None:
    former = tmp_path / "former"
    former.write_bytes(b"kept")
    for put in (path.hardlink_to, path.symlink_to):
        put(former)
        write_public_file(path, b"new")
        assert (path.read_bytes(), path.is_symlink()) == (b"new", False)
        path.unlink()
    assert (former.read_bytes(), [*tmp_path.iterdir()]) == (b"kept", [former])


def test_what_cannot_be_written_is_told_and_nothing_left(path: Path, tmp_path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigError, match=f"^{path}: cannot be written: Is a directory: "):
        write_public_file(path, b"new")
    missing = path / "missing" / "a.prom"
    with pytest.raises(ConfigError, match=f"^{missing}: cannot be written: No such file or dir"):
        write_public_file(missing, b"new")
    path.chmod(0o777)
    with pytest.raises(ConfigError, match="must be writable by its owner alone"):
        write_public_file(path / "a.prom", b"new")
    assert [*tmp_path.rglob("*")] == [path]


def test_what_a_killed_writer_left_is_removed_once_it_is_old(path: Path, tmp_path: Path) -> None:
    for name in (".new-spank-qrmi-1", ".new-spank-qrmi-2", ".new-1"):
        (tmp_path / name).touch()
        if name != ".new-spank-qrmi-2":
            os.utime(tmp_path / name, (1, 1))
    write_public_file(path, b"new")
    left = {each.name for each in tmp_path.iterdir()}
    assert left == {".new-1", ".new-spank-qrmi-2", path.name}
