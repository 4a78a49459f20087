# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's access tokens: one request per login and life, whatever is in the folder."""

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from spank_qrmi.clients.ibm import AppIdLogin, IamLogin
from spank_qrmi.clients.tokens import LONGEST_LIFE_SECONDS
from spank_qrmi.deadline import Deadline
from spank_qrmi.state import token_cache
from spank_qrmi.state.owner import boot_id
from spank_qrmi.state.token_cache import TokenCache
from tests.unit.outcomes import trying

LOGIN = IamLogin("https://iam.test", "api-key-of-the-site")
KEY = TokenCache.key_of(LOGIN)
OTHER_KEY = "0" * 64
TOKEN = "token-Kq83-do-not-show"
PATIENCE_SECONDS = 60
BOOT = boot_id()


def lines_of(*lines: object) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


WHOLE = lines_of(BOOT, 5000, 5010, TOKEN)


class Node:
    """One state directory, and the moment that its clock shows."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state_directory = folder
        self.folder = folder / "tokens"
        self.path = self.folder / KEY
        self.hidden: list[str] = []
        self.cache = TokenCache(folder, self.hidden.extend)
        self.now = 5000
        monkeypatch.setattr(token_cache, "_now", lambda: self.now)

    def find(self, key: str = KEY) -> tuple[str, int] | None:
        """Return what a job is given that comes now; without it, it would fetch one."""
        with self.cache.turn(key, Deadline(PATIENCE_SECONDS)) as token:
            return None if token is None else (token.text, token.seconds)

    def put(self, content: bytes = WHOLE, mode: int = 0o600) -> Path:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.path.touch(mode=0o600)
        self.path.write_bytes(content)
        self.path.chmod(mode)
        return self.path

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


def test_login_is_named_by_all_that_it_is() -> None:
    logins = [
        LOGIN,
        IamLogin("https://iam.test/", "api-key-of-the-site"),
        IamLogin("https://iam.test", "api-key-of-the-user"),
        AppIdLogin("https://iam.test", "api-key-of-the-site", ""),
        AppIdLogin("https://iam.test", "a", "b\udcff"),
        AppIdLogin("https://iam.test", "a1:b\udcff", ""),
    ]
    keys = {TokenCache.key_of(login) for login in logins}
    assert len(keys) == len(logins)
    assert all(len(key) == 64 for key in keys)
    assert TokenCache.key_of(IamLogin(LOGIN.endpoint_url, LOGIN.apikey)) == KEY


def test_token_is_used_until_its_time_is_over_or_it_was_refused(node: Node) -> None:
    node.cache.drop(KEY)
    assert node.find() is None
    node.cache.store(KEY, TOKEN, 3240)
    assert node.find() == (TOKEN, 3240)
    node.now += 3239
    assert node.find() == (TOKEN, 1)
    assert set(node.hidden) == {TOKEN}
    node.now += 1
    assert node.find() is None
    node.cache.store(KEY, TOKEN, 10)
    node.cache.store(OTHER_KEY, "other", 10)
    node.cache.drop(KEY)
    assert (node.find(), node.find(OTHER_KEY)) == (None, ("other", 10))


def test_file_holds_no_credential_and_is_roots_alone(node: Node) -> None:
    node.cache.store(KEY, TOKEN, 10)
    [path] = node.folder.iterdir()
    assert path.name == KEY
    assert path.read_text() == f"{boot_id()}\n5000\n5010\n{TOKEN}\n"
    assert (path.stat().st_mode & 0o777, node.folder.stat().st_mode & 0o777) == (0o600, 0o700)


UNUSABLE = [
    lines_of("another-boot", 5000, 5010, TOKEN),
    lines_of("", 5000, 5010, TOKEN),
    lines_of(BOOT, 5001, 5010, TOKEN),
    lines_of(BOOT, 4000, 5000, TOKEN),
    lines_of(BOOT, 4000, 4000 + LONGEST_LIFE_SECONDS + 1, TOKEN),
    lines_of(BOOT, "-1", 5010, TOKEN),
    lines_of(BOOT, 5000, "5_010", TOKEN),
    lines_of(BOOT, 5000, "9" * 5000, TOKEN),
    lines_of(BOOT, 5000, 5010, "a\x1b[2J"),
    lines_of(BOOT, 5000, 5010, "tökèn"),
    lines_of(BOOT, 5000, 5010, "x" * 17_000),
    # So does one leave it that was killed while it fetched a token.
    b"",
    WHOLE + b"more",
    WHOLE[:-1],
]


def test_what_cannot_be_used_is_as_if_it_were_not_there(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in UNUSABLE:
        node.put(content)
        with trying(content):
            assert (node.find(), node.names()) == (None, set())
    node.put()
    assert node.find() == (TOKEN, 10)
    # Nor is a token of a boot that nobody can tell.
    monkeypatch.setattr(token_cache, "boot_id", lambda: "")
    node.put(lines_of("", 5000, 5010, TOKEN))
    assert node.find() is None


def test_file_that_is_not_roots_alone_is_warned_about_and_replaced(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = node.state_directory / "elsewhere"
    spoils: dict[str, Callable[[], object]] = {
        "link": lambda: node.path.symlink_to(node.put().rename(elsewhere)),
        "pipe": lambda: os.mkfifo(node.path, 0o600),
        "another's": lambda: os.chown(node.put(), 65534, 65534),
        "writable": lambda: node.put(mode=0o620),
        "readable": lambda: node.put(mode=0o640),
    }
    for name, spoil in spoils.items():
        spoil()
        with trying(name):
            assert node.find() is None
            [record] = caplog.records
            assert record.levelno == logging.WARNING
            assert f"{node.path}: no token is taken from it: " in record.getMessage()
            node.cache.store(KEY, "other", 10)
            assert node.find() == ("other", 10)
        node.path.unlink()
        caplog.clear()
    assert elsewhere.read_bytes() == WHOLE


@pytest.mark.parametrize(
    "spoil",
    [
        lambda node: os.chown(node.state_directory, 65534, 65534),
        lambda node: node.folder.touch(),
        lambda node: node.path.mkdir(parents=True),
    ],
    ids=["somebody else's", "file", "folder for a file"],
)
def test_cache_that_cannot_be_used_is_no_error(
    node: Node, spoil: Callable[[Node], None], caplog: pytest.LogCaptureFixture
) -> None:
    spoil(node)
    caplog.set_level(logging.DEBUG)
    assert node.find() is None
    node.cache.store(KEY, TOKEN, 10)
    node.cache.drop(KEY)
    assert node.find() is None
    assert {record.levelno for record in caplog.records} <= {logging.DEBUG, logging.WARNING}
    assert "no token is shared: " in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("call", ["rename", "open"])
def test_full_or_read_only_disk_is_no_error(
    node: Node, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    node.cache.store(KEY, TOKEN, 10)
    real = getattr(os, call)

    def fail(*arguments: object, **named: object) -> object:
        if call == "open" and not int(str(arguments[1])) & (os.O_WRONLY | os.O_RDWR):
            return real(*arguments, **named)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    node.cache.store(OTHER_KEY, "other", 10)
    assert (node.find(), node.find(OTHER_KEY)) == ((TOKEN, 10), None)
    assert node.names() == {KEY}


def test_one_fetches_and_the_others_wait_for_it(node: Node) -> None:
    def job(_: int) -> str | None:
        with node.cache.turn(KEY, Deadline(PATIENCE_SECONDS)) as token:
            if token is None:
                node.cache.store(KEY, TOKEN, 10)
            return token and token.text

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(job, range(16)))
        assert (found.count(None), found.count(TOKEN)) == (1, 15)
        # A failure lets the next one try at once, and leaves nothing.
        node.cache.drop(KEY)
        with node.cache.turn(KEY, Deadline(PATIENCE_SECONDS)) as token:
            assert token is None
            other = pool.submit(node.find)
            assert wait([other], 0.01).not_done == {other}
        assert (other.result(), node.names()) == (None, set())


def test_wait_for_others_ends_with_patience_deadline_and_cancellation(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(deadline: Deadline) -> bool:
        with node.cache.turn(KEY, deadline) as token:
            return token is None

    cancelled = Deadline(PATIENCE_SECONDS)
    with node.cache.turn(KEY, Deadline(PATIENCE_SECONDS)):
        assert waits(Deadline(0.01))
        short = Deadline(0.5)
        assert waits(short)
        assert not short.has_passed()
        threading.Timer(0.01, cancelled.cancel).start()
        assert waits(cancelled)
        monkeypatch.setattr(token_cache, "LONGEST_WAIT_SECONDS", 0.01)
        assert waits(Deadline(PATIENCE_SECONDS))
        # Who does not wait any longer has no lock to give back.
        assert node.names() == {KEY}
    assert node.names() == set()


def test_what_others_left_is_removed_with_the_next_token(node: Node) -> None:
    node.cache.store("1" * 64, "over", 10)
    node.cache.store("2" * 64, "in use", 1000)
    node.now += 10
    leftover, young = node.folder / ".new-0", node.folder / ".new-1"
    for path in (leftover, young, node.folder / "README"):
        path.touch()
    os.utime(leftover, (0, 0))
    with node.cache.turn("3" * 64, Deadline(PATIENCE_SECONDS)):
        node.cache.store(KEY, TOKEN, 10)
        assert node.names() == {"2" * 64, "3" * 64, KEY, ".new-1", "README"}


def test_life_and_number_of_tokens_are_limited(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in (0, LONGEST_LIFE_SECONDS + 1):
        node.cache.store(KEY, TOKEN, seconds)
        assert not node.path.exists(), seconds
    node.cache.store(KEY, TOKEN, 1)
    assert node.find() == (TOKEN, 1)
    node.cache.drop(KEY)
    monkeypatch.setattr(token_cache, "MOST_TOKENS", 2)
    for digit in "123":
        node.cache.store(digit * 64, TOKEN, 10)
    assert node.names() == {"1" * 64, "2" * 64}
    node.cache.store("1" * 64, "renewed", 10)
    assert node.find("1" * 64) == ("renewed", 10)


def test_clock_is_one_that_nobody_sets() -> None:
    before = int(time.clock_gettime(time.CLOCK_BOOTTIME))
    assert before <= token_cache._now() <= before + PATIENCE_SECONDS
