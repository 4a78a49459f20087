# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker server as nodes without systemd start it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loopback.installation import Installation
from loopback.processes import Daemon
from loopback.waiting import wait_until

START_SECONDS = 20.0


@contextmanager
def worker_server(installation: Installation, folder: Path) -> Iterator[Path]:
    """Have an installation's workers ready; give the socket, whose server logs into `folder`."""
    path = folder / "worker.socket"
    command = [str(installation.environment / "bin" / "spank-qrmi"), "worker-server"]
    log = folder / "worker_server.log"
    daemon = Daemon("worker server", [*command, f"--socket={path}"], log, {})
    try:
        wait_until(lambda: daemon.check() and _is_listened_to(path), START_SECONDS, "worker server")
        yield path
    finally:
        daemon.stop()
        path.unlink(missing_ok=True)


def _is_listened_to(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        return connection.connect_ex(str(path)) == 0
