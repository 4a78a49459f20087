# SPDX-License-Identifier: GPL-3.0-or-later
"""Events are counted whoever else counts, and no trouble with that is anybody else's."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spank_qrmi.errors import ConfigError
from spank_qrmi.state import counts
from spank_qrmi.state.counts import Event, count, read_counts

NOTHING = dict.fromkeys(Event, 0)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def file_of(state: Path, event: Event) -> Path:
    return state / "counts" / f"{event.value}-{os.uname().nodename}"


def test_each_event_of_each_node_has_a_count_of_its_own_in_a_file_of_roots(state: Path) -> None:
    assert read_counts(state) == NOTHING
    assert not state.exists()
    for event in (Event.ACQUIRED, Event.KEPT, Event.ACQUIRED):
        count(state, event)
    assert read_counts(state) == NOTHING | {Event.ACQUIRED: 2, Event.KEPT: 1}
    path = file_of(state, Event.KEPT)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o600, 0o700]
    path.rename(path.with_name("kept-another"))
    assert read_counts(state) == NOTHING | {Event.ACQUIRED: 2}


def test_nothing_is_lost_of_what_is_counted_at_once(state: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: count(state, Event.RELEASED), range(400)))
    assert read_counts(state)[Event.RELEASED] == 400


def test_long_count_begins_anew(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MOST_COUNTED", 3)
    seen = []
    for _ in range(5):
        count(state, Event.KEPT)
        seen.append(read_counts(state)[Event.KEPT])
    assert seen == [1, 2, 3, 1, 2]


def test_what_is_no_file_of_ours_counts_nothing(state: Path, tmp_path: Path) -> None:
    path = file_of(state, Event.KEPT)
    path.parent.mkdir(mode=0o700, parents=True)
    target = tmp_path / "target"
    target.write_bytes(b"kept")
    puts = (path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to(target))
    for number, put in enumerate(puts):
        put()
        count(state, Event.KEPT)
        assert read_counts(state) == NOTHING
        path.rename(tmp_path / f"former {number}")
    assert target.read_bytes() == b"kept"


def test_folder_that_cannot_be_used_is_told_to_who_reads_alone(state: Path) -> None:
    count(state, Event.KEPT)
    state.joinpath("counts").chmod(0o777)
    count(state, Event.KEPT)
    assert file_of(state, Event.KEPT).stat().st_size == 1
    with pytest.raises(ConfigError, match="must be writable by its owner alone"):
        read_counts(state)
    state.rename(state.with_name("former"))
    state.write_bytes(b"")
    count(state, Event.KEPT)
    with pytest.raises(ConfigError, match="cannot be read: Not a directory"):
        read_counts(state)
