# SPDX-License-Identifier: GPL-3.0-or-later
"""Each line of the usage log is there once and whole, whoever else writes, and whatever fails."""

import fcntl
import gzip
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spank_qrmi.errors import UsageLogError
from spank_qrmi.state import usage_log
from spank_qrmi.state.usage_log import UsageLog, open_lines
from tests.unit.failing_systems import room_for
from tests.unit.outcomes import refusal_of, trying


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spank_qrmi" / "usage.jsonl"


@pytest.mark.parametrize("umask", [0, 0o077])
def test_lines_are_roots_to_write_and_its_groups_to_read(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        UsageLog(path).append(b"first")
    finally:
        os.umask(before)
    UsageLog(path).append(b"second")
    assert path.read_bytes() == b"first\nsecond\n"
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)]
    assert modes == [0o640, 0o750]


def test_it_is_tried_out_without_a_change(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = UsageLog(path)
    log.try_out()
    assert not path.parent.exists()
    path.parent.mkdir()
    log.try_out()
    assert not path.exists()
    log.append(b"first")
    log.try_out()
    assert path.read_bytes() == b"first\n"
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(UsageLogError, match="cannot be written: Read-only file system"):
        log.try_out()
    with pytest.raises(UsageLogError, match="cannot be written: No such file"):
        UsageLog(path.parent / "none" / "more" / path.name).try_out()


def test_no_line_is_lost_among_many_writers(path: Path) -> None:
    lines = [b"%d " % number * 300 for number in range(200)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(UsageLog(path).append, lines))
    assert sorted(path.read_bytes().splitlines()) == sorted(lines)


def test_line_that_is_not_whole_spoils_no_other(path: Path) -> None:
    UsageLog(path).append(b"first")
    for room in (0, 6, 8):
        with (
            room_for(room),
            pytest.raises(UsageLogError, match="cannot be written: File too large"),
        ):
            UsageLog(path).append(b"second")
        assert path.read_bytes() == b"first\n", room
    # A killed writer may have left one without its end.
    with path.open("ab") as file:
        file.write(b"cut o")
    assert not UsageLog(path).holds(b"cut", 0)
    UsageLog(path).append(b"second")
    assert path.read_bytes() == b"first\ncut o\nsecond\n"


def test_what_was_written_is_found_also_once_it_is_rotated(path: Path) -> None:
    log = UsageLog(path)
    assert not log.holds(b"first", 0)
    for text, rotated_name in ((b"first", "usage.jsonl.1"), (b"second", "usage.jsonl-20231115")):
        log.append(text)
        path.rename(path.with_name(rotated_name))
    rotated = path.with_name("usage.jsonl.1")
    path.with_name("usage.jsonl.1.gz").write_bytes(gzip.compress(rotated.read_bytes()))
    rotated.unlink()
    path.touch()
    assert [log.holds(text, 0) for text in (b"first", b"second", b"third")] == [True, True, False]
    # None of these was written to in the future.
    assert not log.holds(b"second", path.stat().st_mtime + 1000)
    assert open_lines(path.with_name("usage.jsonl.1.gz")).read() == b"first\n"


def test_what_others_may_have_put_there_is_not_written(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target" / path.name
    target.parent.mkdir(mode=0o755)
    target.write_bytes(b"kept\n")
    puts: dict[str, Callable[[], object]] = {
        "linked folder": lambda: path.parent.symlink_to(target.parent),
        "link": lambda: path.symlink_to(target),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "open": lambda: [path.touch(), path.chmod(0o666)],
        "open folder": lambda: path.parent.chmod(0o777),
    }
    for what, put in puts.items():
        if what != "linked folder":
            path.parent.mkdir(mode=0o755)
        put()
        for use in (UsageLog(path).try_out, lambda: UsageLog(path).append(b"new")):
            with trying(what):
                assert f"{path}: " in str(refusal_of(UsageLogError, use))
        path.parent.rename(tmp_path / f"former {what}")
    assert target.read_bytes() == b"kept\n"


def test_of_folders_above_its_own_none_is_made_and_nothing_asked(
    path: Path, tmp_path: Path
) -> None:
    # A group of its own may write the system's log in /var/log.
    tmp_path.chmod(0o775)
    UsageLog(path).append(b"first")
    assert path.read_bytes() == b"first\n"
    with pytest.raises(UsageLogError, match="cannot be written: No such file or directory"):
        UsageLog(tmp_path / "a" / "b" / "usage.jsonl").append(b"first")


def test_writer_that_keeps_the_lock_stops_nobody_for_long(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_log, "_LOCK_SECONDS", 0.05)
    UsageLog(path).append(b"first")
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UsageLogError, match="cannot be written: "):
            UsageLog(path).append(b"second")
    assert path.read_bytes() == b"first\n"
