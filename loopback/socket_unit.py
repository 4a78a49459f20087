# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd does for a socket unit: listen, and start its service whenever somebody connects."""

import os
import select
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from loopback.processes import Daemon

# systemd passes the socket on as descriptor 3, to a process whose id it names (sd_listen_fds(3)).
_START = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "${@:2}" 3<&"$1"-'
_LOOK_SECONDS = 0.02


class SocketUnit:
    """A socket of packets at `path`, and the service behind it; the log is in `folder`."""

    def __init__(self, path: Path, service: Sequence[str], folder: Path) -> None:
        self.path = path
        self._service = service
        self._folder = folder
        self._daemon: Daemon | None = None
        self._is_stopping = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(128)
        # Its services end with the thread that has started them.
        self._thread = threading.Thread(target=self._keep_serving)
        self._thread.start()

    def __enter__(self) -> "SocketUnit":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The process id of the service, None while it does not run."""
        daemon = self._daemon
        return daemon.pid if daemon is not None and daemon.is_running() else None

    @property
    def said(self) -> str:
        """What the services have written to their standard streams."""
        path = self._folder / "service.console"
        return path.read_text() if path.exists() else ""

    def stop(self) -> None:
        """End the service and the socket."""
        self._is_stopping.set()
        self._thread.join()
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def _keep_serving(self) -> None:
        while not self._is_stopping.wait(_LOOK_SECONDS):
            if self.pid is None and select.select([self._listener], [], [], _LOOK_SECONDS)[0]:
                self._daemon = Daemon(
                    "service",
                    ["bash", "-c", _START, "bash", str(self._listener.fileno()), *self._service],
                    self._folder / "service.log",
                    {"PATH": os.environ["PATH"]},
                    inherited=[self._listener.fileno()],
                )
        if self._daemon is not None:
            self._daemon.stop()
