# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files root acts upon: owner, mode, links and every folder on the way."""

import os
import random
import re
import stat
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from loopback.installation import REPOSITORY
from spank_qrmi.errors import ConfigError
from spank_qrmi.trust import files as trusted_files
from spank_qrmi.trust.files import (
    MOST_LINKS,
    check_trusted,
    open_trusted_folder,
    read_trusted_file,
    warn_or_refuse,
)
from tests.unit.outcomes import WRITABLE, outcome_of, trying

NOBODY = 65534
REMOVE = "remove it, and make it anew as root"
LIMIT_BYTES = 100

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A private file two folders down."""
    path = tmp_path / "outer" / "inner" / "file"
    path.parent.mkdir(parents=True, mode=0o755)
    path.touch(mode=0o600)
    path.write_text("content")
    return path


def read(path: Path, *, may_be_link: bool = True) -> bytes:
    return read_trusted_file(path, LIMIT_BYTES, may_be_link=may_be_link).content


def refusal(path: Path, *, may_be_link: bool = True) -> str:
    with pytest.raises(ConfigError) as caught:
        read(path, may_be_link=may_be_link)
    return str(caught.value)


def give_away(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def make_foreign(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let a file, folder or link belong to neither root nor us; return its owner.

    Without root, everything of ours becomes foreign when we are somebody else.
    """
    if os.geteuid() == 0:
        give_away(path)
    else:
        we = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: we + 1)
    return path.lstat().st_uid


def test_mode_tells_whether_it_is_private_and_may_let_no_other_write(file: Path) -> None:
    is_private = {0o600: True, 0o400: True, 0o700: True, 0o640: False, 0o604: False, 0o611: False}
    for mode, expected in is_private.items():
        file.chmod(mode)
        with trying(f"{mode:o}"):
            found = read_trusted_file(file, LIMIT_BYTES)
            assert (found.content, found.is_private) == (b"content", expected)
            assert "content" not in repr(found)
    for mode in (0o620, 0o602, 0o666, 0o1602):
        file.chmod(mode)
        with trying(f"{mode:o}"):
            assert refusal(file) == f"{file}: {WRITABLE} {file}"


def test_folder_on_the_way_that_others_can_write_is_refused(file: Path) -> None:
    link = file.parents[2] / "link"
    link.symlink_to(file)
    # Neither a link nor dots are a way around it.
    paths = (file, link, file.parent / ".." / "inner" / "file")
    for folder in file.parents[:2]:
        for path, mode in product(paths, (0o775, 0o757, 0o777)):
            folder.chmod(mode)
            with trying((path, f"{mode:o}")):
                assert refusal(path) == f"{path}: {folder} {WRITABLE} {folder}"
        # A sticky one is safe, but not as the folder that is used itself.
        folder.chmod(0o1777)
        assert read(file) == b"content"
        with pytest.raises(ConfigError, match="must be writable by its owner alone"):
            use_folder(folder)


def test_file_of_somebody_else_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = make_foreign(file, monkeypatch)
    assert refusal(file).startswith(f"{file}: must belong to root, not to user {owner}: {REMOVE}")


@needs_root
def test_without_root_our_own_files_count(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    give_away(file)
    assert read(file) == b"content"
    os.chown(file, NOBODY - 1, NOBODY)
    assert f"not to user {NOBODY - 1}" in refusal(file)


def test_no_text_advises_to_take_over_what_somebody_else_made() -> None:
    """Root would trust a link or a file that was planted there."""
    folders = ("spank_qrmi", "scripts", "man", "docs", "systemd")
    texts = [path for name in folders for path in REPOSITORY.joinpath(name).rglob("*")]
    known = {".py", ".pyx", ".pxd", ".md", ".1", ".8", ".service", ".example"}
    found = {
        path.name: line
        for path in (*texts, *REPOSITORY.glob("*.md"), *REPOSITORY.glob("*.example"))
        if path.suffix in known
        for line in path.read_text().splitlines()
        if re.search(r"\bchown (-\w+ )?root\b", line)
    }
    assert found == {}


@needs_root
def test_folders_of_somebody_else_are_doubtful(file: Path) -> None:
    folders = (file.parents[1], file.parents[0])
    for folder in folders:
        give_away(folder)
    assert read_trusted_file(file, LIMIT_BYTES).doubts == tuple(
        f"{file}: {folder} belongs to user {NOBODY}, who can replace what is in it: "
        "keep it below folders that root has made"
        for folder in folders
    )


def use_folder(path: Path, subfolder: str = "", *, is_made: bool = False) -> None:
    with open_trusted_folder(path, subfolder, is_made=is_made) as descriptor:
        assert os.path.samestat(os.fstat(descriptor), (path / subfolder).stat())


@needs_root
def test_folder_of_somebody_else_may_hold_roots_folder_but_is_not_used(tmp_path: Path) -> None:
    state = tmp_path / "of_slurm" / "state"
    use_folder(state, "tokens", is_made=True)
    assert stat.S_IMODE((state / "tokens").stat().st_mode) == 0o700
    give_away(state.parent)
    use_folder(state, "tokens")
    give_away(state)
    for subfolder in ("", "tokens"):
        with pytest.raises(ConfigError, match=f"^{state}: must belong to root"):
            use_folder(state, subfolder, is_made=True)


def test_subfolder_is_only_made_if_wanted_and_neither_a_link_nor_others(tmp_path: Path) -> None:
    subfolder = tmp_path / "tokens"
    with pytest.raises(FileNotFoundError):
        use_folder(tmp_path, "tokens")
    subfolder.symlink_to("/")
    for is_made in (False, True):
        with pytest.raises(NotADirectoryError):
            use_folder(tmp_path, "tokens", is_made=is_made)
    subfolder.unlink()
    subfolder.mkdir()
    subfolder.chmod(0o777)
    with pytest.raises(ConfigError, match=f"^{subfolder}: {WRITABLE}"):
        use_folder(tmp_path, "tokens")


@needs_root
def test_link_of_somebody_else_is_refused(file: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    to_file, to_folder = tmp_path / "to_file", tmp_path / "to_folder"
    to_file.symlink_to(file)
    to_folder.symlink_to(file.parent)
    give_away(to_file)
    give_away(to_folder)
    expected = f"must belong to root, not to user {NOBODY}: {REMOVE}"
    assert refusal(to_file) == f"{to_file}: {expected}"
    path = to_folder / file.name
    assert refusal(path) == f"{path}: {to_folder} {expected}"


def test_link_to_a_file_is_followed_only_if_it_may_be_one(file: Path) -> None:
    link = file.with_name("link")
    for target in ("file", "./file", "../inner/file", file):
        link.symlink_to(target)
        with trying(target):
            assert read(link) == b"content"
            told = refusal(link, may_be_link=False)
            assert told == f"{link}: is a symbolic link: name the file itself"
        link.unlink()


def test_links_on_the_way_are_followed(file: Path, tmp_path: Path) -> None:
    link, own = tmp_path / "link", tmp_path / "own"
    for target in ("outer", "./outer/", "outer/inner/..", tmp_path / "outer"):
        link.symlink_to(target)
        with trying(target):
            assert read(link / "inner" / "file", may_be_link=False) == b"content"
        link.unlink()
    own.symlink_to(".")
    assert read(own / "outer" / "inner" / "file") == b"content"
    use_folder(own)


def test_chain_of_links_may_be_long_and_has_an_end(file: Path, tmp_path: Path) -> None:
    before = file
    for number in range(MOST_LINKS + 1):
        link = tmp_path / str(number)
        link.symlink_to(before)
        before = link
    assert read(tmp_path / str(MOST_LINKS - 1)) == b"content"
    for path in (link, link / "file"):
        assert refusal(path) == f"{path}: cannot be read: Too many levels of symbolic links"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path, pipe = tmp_path / "path", tmp_path / "pipe"
    assert refusal(path) == f"{path}: cannot be read: No such file or directory"
    path.write_text("x" * (LIMIT_BYTES + 1))
    assert refusal(path) == f"{path}: is larger than {LIMIT_BYTES} bytes"
    os.mkfifo(pipe, 0o600)
    for no_file in (pipe, tmp_path):
        assert refusal(no_file) == f"{no_file}: is no regular file"
    assert refusal(Path("file")) == "file: must be an absolute path"
    # The way to it has no step.
    check_trusted(Path("/"))


def test_no_descriptor_is_left_open(file: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 (no paths are wanted)
    read(file)
    file.chmod(0o666)
    for path in (file, file.parent, file / "below"):
        refusal(path)
    use_folder(file.parent)
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_missing_folders_are_made_for_root_alone(tmp_path: Path) -> None:
    path, shared = tmp_path / "var" / "lib" / "state", tmp_path / "open"
    with pytest.raises(FileNotFoundError):
        use_folder(path)
    before = os.umask(0)
    try:
        use_folder(path, is_made=True)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(folder.stat().st_mode) for folder in (path, *path.parents[:2])]
    assert modes == [0o700, 0o700, 0o700]
    use_folder(path, is_made=True)
    # None is made where somebody else leads.
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(ConfigError):
        use_folder(shared / "state", is_made=True)
    assert list(shared.iterdir()) == []


def test_file_that_is_exchanged_while_it_is_opened_is_never_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file takes its place after the look at it: what was opened is checked again."""
    other = file.with_name("other")
    other.write_text("of somebody else")
    other.chmod(0o666)
    open_last = trusted_files._open_last

    def exchange_first(path: Path, place: Path, name: str, here: int, flags: int) -> int:
        other.replace(file)
        return open_last(path, place, name, here, flags)

    monkeypatch.setattr(trusted_files, "_open_last", exchange_first)
    assert "must be writable by its owner alone" in refusal(file)


def test_folder_that_is_exchanged_all_the_time_leads_nowhere_else(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way is walked by open folders: a name that comes to mean another one changes nothing."""
    trap, link, fresh = (tmp_path / name for name in ("trap", "link", "fresh"))
    trap.mkdir()
    (trap / "file").write_text("of somebody else")
    (trap / "file").chmod(0o666)
    chance = random.Random(1)
    really_open = os.open

    def exchange() -> None:
        fresh.symlink_to(chance.choice((trap, file.parent)))
        fresh.replace(link)

    def open_amid_exchanges(*arguments: Any, **more: Any) -> int:
        exchange()
        descriptor = really_open(*arguments, **more)
        exchange()
        return descriptor

    monkeypatch.setattr(os, "open", open_amid_exchanges)
    found = {str(outcome_of(read, link / "file")) for _ in range(50)}
    refused = f"{link / 'file'}: {trap / 'file'} {WRITABLE} {trap / 'file'}"
    assert found == {"b'content'", refused}


def test_exposed_secrets_are_logged_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    warn_or_refuse(["one", "two"], is_strict=False)
    warn_or_refuse([], is_strict=True)
    told = [(record.levelname, record.message) for record in caplog.records]
    assert told == [("WARNING", "one"), ("WARNING", "two")]
    with pytest.raises(ConfigError, match=r"^one; --strict-permissions refuses it$"):
        warn_or_refuse(["one", "two"], is_strict=True)


def test_what_is_mounted_on_demand_is_read_if_it_is_roots_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autofs mounts when a folder is opened as one: to open it by `O_PATH` mounts nothing."""
    place, mounted = tmp_path / "automount", tmp_path / "mounted"
    for folder in (place, mounted):
        folder.mkdir(mode=0o755)
    (mounted / "file").write_text("content")
    really_open = os.open

    def open_and_mount(path: str, flags: int, *more: int, dir_fd: int | None = None) -> int:
        if path == place.name and flags & os.O_DIRECTORY:
            return really_open(mounted, flags)
        return really_open(path, flags, *more, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", open_and_mount)
    assert read(place / "file") == b"content"
    mounted.chmod(0o777)
    assert refusal(place / "file").endswith(f"{WRITABLE} {place}")
