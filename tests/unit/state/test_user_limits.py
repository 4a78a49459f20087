# SPDX-License-Identifier: GPL-3.0-or-later
"""How much a user may hold and acquire on a node, and what is said beyond that."""

import fcntl
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import AcquisitionError, ConfigError
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.owner import owner_of
from spank_qrmi.state.user_limits import NO_LIMITS, UserLimits

UID = 1000
FILE_NAME = f"{UID}-{os.uname().nodename}"
NOW = 1_700_000_000
ENTRY = Entry(7, 0, 0, UID, "a", "fake", {}, token="t", acquired_at=NOW, ends_at=NOW + 3600)
HELD = "you hold as many sessions on this node as a user may (2): try again when one of your jobs "


class Node:
    """A state directory, and the moments that its two clocks show."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "state"
        self.journal = Journal(self.folder)
        self.now = float(NOW)
        self.ticks = 5000.0
        monkeypatch.setattr(time, "time", lambda: self.now)
        monkeypatch.setattr(time, "clock_gettime", lambda clock: self.ticks)

    def hold(self, name: str, **changes: object) -> None:
        with self.journal.begin(replace(ENTRY, resource_name=name, **changes)):  # type: ignore[arg-type]
            pass

    def refusal(
        self, limits: UserLimits, uid: int = UID, *, is_held: bool = True, seconds: float = 60
    ) -> str | None:
        """Return why the next acquisition is refused, None if it is not."""
        try:
            with limits.admit(uid, self.journal, Deadline(seconds), is_held=is_held):
                return None
        except AcquisitionError as error:
            return str(error)

    def most_held(self, most: int) -> UserLimits:
        return UserLimits(self.folder, most_held=most)

    def per_minute(self, most: int) -> UserLimits:
        return UserLimits(self.folder, acquisitions_per_minute=most)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


def test_what_a_user_holds_is_counted_and_without_limits_nothing_is_looked_at(node: Node) -> None:
    assert node.refusal(NO_LIMITS) is None
    assert node.refusal(UserLimits(node.folder)) is None
    assert not node.folder.exists()
    limits = node.most_held(2)
    assert node.refusal(limits) is None
    owner = owner_of(os.getpid())
    node.hold("a", owner=owner, ends_at=NOW + 60)
    node.hold("b", uid=UID + 1)
    node.hold("told", is_told=True)
    # Nodes may share a folder.
    node.hold("of another node", owner=replace(owner, host="another-node"))
    assert node.refusal(limits) is None
    # One that is being acquired, and one whose answer was lost, may be open as well.
    node.hold("c", token=None, failure="lost")
    expected = f"{HELD}has ended, at the latest at 2023-11-14 22:14:20 UTC"
    assert node.refusal(limits) == expected
    assert node.refusal(limits, UID + 1) is None
    assert node.refusal(limits, is_held=False) is None
    node.now += 60
    assert node.refusal(limits) is None
    # Who is refused has acquired nothing within the minute.
    both = UserLimits(node.folder, most_held=1, acquisitions_per_minute=1)
    for _ in range(3):
        assert str(node.refusal(both)).startswith("you hold as many")
    assert node.refusal(both, is_held=False) is None


def test_moment_to_try_again_is_when_enough_has_ended(node: Node) -> None:
    for name, seconds in (("a", 300), ("b", 100), ("c", 200)):
        node.hold(name, ends_at=NOW + seconds)
    assert str(node.refusal(node.most_held(2))).endswith("22:16:40 UTC")
    assert str(node.refusal(node.most_held(1))).endswith("22:18:20 UTC")
    assert node.refusal(node.most_held(4)) is None
    # Entries of an earlier release have no known end.
    node.hold("d", ends_at=None)
    node.hold("e", ends_at=None)
    assert node.refusal(node.most_held(2)) == f"{HELD}has ended"


def test_acquisitions_of_a_minute_are_counted_in_a_file_of_roots(node: Node) -> None:
    limits = node.per_minute(2)
    found = []
    for node.ticks in (5000, 5010, 5030.9, 5059, 5060, 5061, 5070):
        found.append(node.refusal(limits, is_held=False))
    text = "you have acquired as many QPUs on this node within a minute as a user may (2): try "
    assert found == [
        *(None, None, f"{text}again in 30 s", f"{text}again in 1 s"),
        *(None, f"{text}again in 9 s", None),
    ]
    [path] = node.folder.joinpath("users").iterdir()
    assert (path.name, path.read_text()) == (FILE_NAME, "5060\n5070\n")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert node.refusal(limits, UID + 1) is None
    # Times of another boot count for nothing.
    node.ticks = 30
    found = [node.refusal(limits) for _ in range(3)]
    assert found == [None, None, f"{text}again in 60 s"]


@given(content=st.one_of(st.binary(max_size=60), st.text("0123456789\n -", max_size=60)))
def test_nonsense_in_a_file_counts_for_nothing(
    tmp_path_factory: pytest.TempPathFactory, content: bytes | str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        node = Node(tmp_path_factory.mktemp("node"), patch)
        assert node.refusal(node.per_minute(1000)) is None
        [path] = node.folder.joinpath("users").iterdir()
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert node.refusal(node.per_minute(1000)) is None
        assert path.read_text().split()[-1] == "5000"


def test_jobs_of_a_user_that_begin_at_once_do_not_pass_the_limit(node: Node) -> None:
    def begins(number: int) -> bool:
        try:
            with node.most_held(3).admit(UID, node.journal, Deadline(60), is_held=True):
                node.hold(f"qpu-{number}")
                return True
        except AcquisitionError:
            return False

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(begins, range(12))) == 3


def test_turn_is_not_waited_for_beyond_the_deadline(node: Node) -> None:
    assert node.refusal(node.per_minute(5)) is None
    [path] = node.folder.joinpath("users").iterdir()
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        expected = "too many jobs of yours began at once here: try again now"
        assert node.refusal(node.per_minute(5), seconds=0.05) == expected
        assert node.refusal(node.per_minute(5), UID + 1) is None


def test_what_cannot_be_counted_is_refused(node: Node) -> None:
    """Else a full disk would lift the limit."""
    node.folder.joinpath("users").mkdir(parents=True, mode=0o700)
    node.folder.joinpath("users", FILE_NAME).mkdir()
    expected = f"what users have acquired cannot be counted in {node.folder}: Is a directory"
    assert node.refusal(node.per_minute(5)) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_state_folder_of_somebody_else_is_not_counted_in(node: Node) -> None:
    node.folder.mkdir()
    os.chown(node.folder, 65534, 65534)
    with pytest.raises(ConfigError, match="must belong to root"):
        node.refusal(node.per_minute(5))
    assert list(node.folder.iterdir()) == []
