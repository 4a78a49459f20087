# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker server as nodes without systemd start it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loopback.installation import Installation
from loopback.processes import Daemon, children_of, target_of
from loopback.waiting import wait_until

START_SECONDS = 60.0
IDLE_SECONDS = 60.0
_STDERR = 2


@dataclass(frozen=True)
class WorkerServer:
    """A running server: where it is asked, its process, and what it writes to."""

    path: Path
    pid: int
    console: Path

    def busy_workers(self) -> list[int]:
        """Return the process ids of workers that were handed out."""
        return [pid for pid in children_of(self.pid) if not self._is_ready(pid)]

    def wait_until_idle(self) -> list[int]:
        """Wait until its only worker is one that nobody has yet; return all its process ids.

        These are the server's, that worker's and its network process's.
        """
        [worker] = wait_until(
            lambda: children_of(self.pid),
            IDLE_SECONDS,
            "worker that is ready, and no other",
            accept=lambda pids: len(pids) == 1 and self._is_ready(pids[0]) and children_of(pids[0]),
        )
        return [self.pid, worker, *children_of(worker)]

    def _is_ready(self, worker_pid: int) -> bool:
        """Tell whether a worker still complains to the server's stderr, not to a plugin's pipe."""
        return target_of(worker_pid, _STDERR) == target_of(self.pid, _STDERR)


@contextmanager
def worker_server(installation: Installation, folder: Path) -> Iterator[WorkerServer]:
    """Have an installation's workers ready; the log of their server is in `folder`."""
    path = folder / "worker.socket"
    command = [str(installation.environment / "bin" / "spank-qrmi"), "worker-server"]
    log = folder / "worker_server.log"
    daemon = Daemon("worker server", [*command, f"--socket={path}"], log, {})
    try:
        wait_until(lambda: daemon.check() and is_listened_to(path), START_SECONDS, "worker server")
        yield WorkerServer(path, daemon.pid, daemon.console)
    finally:
        daemon.stop()
        path.unlink(missing_ok=True)


def is_listened_to(path: Path) -> bool:
    """Tell whether a server takes connections at a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        return connection.connect_ex(str(path)) == 0
