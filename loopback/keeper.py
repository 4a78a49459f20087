# SPDX-License-Identifier: GPL-3.0-or-later
"""A background process that keeps what it has started until it is told to end.

It holds a lock while it lives, so that its process id is never mistaken for another's.
"""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from loopback.errors import ClusterError, WaitTimeoutError
from loopback.waiting import wait_until

START_SECONDS = 1800.0
CLAIM_SECONDS = 1.0
STOP_SECONDS = 60.0


def end_in_order_at(*signals: signal.Signals, status: int) -> None:
    """Let these signals end this process by SystemExit with that status, once."""

    def end(_number: int, _frame: FrameType | None) -> None:
        # Being told again must not break off what is cleaned up.
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(status)

    for each in signals:
        signal.signal(each, end)


class Keeper:
    """The one process that may hold `lock_path`: started, told to end, and as it is itself."""

    def __init__(self, lock_path: Path) -> None:
        self._lock_path = lock_path

    def start(self, command: Sequence[str]) -> int:
        """Start a process that claims and keeps; return 0 once it keeps, or its exit status."""
        # A Ctrl-C in the terminal is for us alone: we have the process end in order.
        process = subprocess.Popen(command, start_new_session=True)
        try:
            wait_until(
                lambda: process.poll() is not None or self._kept_by() == process.pid,
                START_SECONDS,
                "end of the preparations",
            )
        except BaseException:
            process.terminate()
            process.wait()
            raise
        return process.returncode or 0

    def stop(self) -> bool:
        """End the process and wait until it is gone; return False if there is none."""
        pid = self._kept_by()
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: self._kept_by() is None, STOP_SECONDS, f"end of process {pid}")
        return True

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Be the process, which ends by SystemExit at SIGTERM.

        Raises ClusterError if there is one already.
        """
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock_path.open("a") as lock:
            try:
                # Whoever looks for a process holds the lock for a moment.
                wait_until(lambda: _is_locked(lock), CLAIM_SECONDS, "lock")
            except WaitTimeoutError:
                message = f"one is kept already, by process {self._lock_path.read_text()}"
                raise ClusterError(message) from None
            lock.truncate(0)
            end_in_order_at(signal.SIGTERM, status=0)
            yield

    def keep(self) -> None:
        """Leave the terminal and wait for the end; only within `claim`."""
        sys.stdout.flush()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        self._lock_path.write_text(str(os.getpid()))
        while True:
            signal.pause()

    def _kept_by(self) -> int | None:
        """Return the id of the process that keeps something now."""
        try:
            with self._lock_path.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return None
        except BlockingIOError:
            return int(self._lock_path.read_text() or 0) or None
        return None


def _is_locked(lock: IO[str]) -> bool:
    """Try to take the lock for this process alone; return whether it has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
