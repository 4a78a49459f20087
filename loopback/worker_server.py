# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker server as nodes without systemd start it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loopback.installation import Installation
from loopback.processes import Daemon, children_of
from loopback.waiting import wait_until

START_SECONDS = 60.0


@dataclass(frozen=True)
class WorkerServer:
    """A running server: where it is asked, and its process."""

    path: Path
    pid: int

    def busy_workers(self) -> list[int]:
        """Return the process ids of workers that were handed out: all but the youngest, if any."""
        return sorted(children_of(self.pid))[:-1]


@contextmanager
def worker_server(installation: Installation, folder: Path) -> Iterator[WorkerServer]:
    """Have an installation's workers ready; the log of their server is in `folder`."""
    path = folder / "worker.socket"
    command = [str(installation.environment / "bin" / "spank-qrmi"), "worker-server"]
    log = folder / "worker_server.log"
    daemon = Daemon("worker server", [*command, f"--socket={path}"], log, {})
    try:
        wait_until(lambda: daemon.check() and is_listened_to(path), START_SECONDS, "worker server")
        yield WorkerServer(path, daemon.pid)
    finally:
        daemon.stop()
        path.unlink(missing_ok=True)


def is_listened_to(path: Path) -> bool:
    """Tell whether a server takes connections at a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        return connection.connect_ex(str(path)) == 0
