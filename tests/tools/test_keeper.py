# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that keeps a demonstration: started, found again, ended."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.errors import ClusterError
from loopback.keeper import Keeper


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Path]:
    lock = tmp_path / "build" / "lock"
    yield lock
    Keeper(lock).stop()


def program(lock: Path, body: str) -> list[str]:
    """Return a command that runs `body` with a keeper."""
    imports = "import pathlib, sys\nfrom loopback.keeper import Keeper"
    made = f"keeper = Keeper(pathlib.Path({str(lock)!r}))"
    return [sys.executable, "-c", f"{imports}\n{made}\n{body}"]


def start(lock: Path, body: str) -> subprocess.CompletedProcess[bytes]:
    """Have another process start the keeper, since that one outlives its parent."""
    launch = f"sys.exit(keeper.start({program(lock, body)!r}))"
    return subprocess.run(program(lock, launch), check=False, capture_output=True, timeout=30)


def test_one_alone_keeps_until_it_is_told_to_stop(lock: Path):
    keeper = Keeper(lock)
    # Left over by one that was killed.
    lock.parent.mkdir()
    lock.write_text("1")
    assert not keeper.stop()
    done = start(lock, "with keeper.claim(): keeper.keep()")
    # It has left the terminal.
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    pid = int(lock.read_text())
    assert Path(f"/proc/{pid}").exists()
    refusal = pytest.raises(ClusterError, match=f"kept already, by process {pid}")
    with refusal, keeper.claim():
        pytest.fail("claimed twice")
    assert keeper.stop()
    assert not keeper.stop()


@pytest.mark.parametrize("cleaning", ["pass", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_cleans_up_to_the_end_when_it_is_told_to_stop_also_twice(lock: Path, cleaning: str):
    traced = lock.with_name("traced")
    body = f"""
import os, signal
with keeper.claim():
    try:
        keeper.keep()
    finally:
        {cleaning}
        pathlib.Path({str(traced)!r}).touch()
"""
    start(lock, body)
    Keeper(lock).stop()
    assert traced.exists()


def test_status_of_one_that_fails_before_it_keeps(lock: Path):
    assert start(lock, "with keeper.claim(): sys.exit(3)").returncode == 3
    assert not Keeper(lock).stop()
