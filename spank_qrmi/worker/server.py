# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker server: it has imported what workers need, and one is ready for the next plugin.

Nothing needs it: a worker that is started anew does the same, and takes longer to begin. Its socket
is one of packets (SOCK_SEQPACKET), systemd's or its own. A connection stands for one worker:

    plugin  START and its worker's interpreter, with that one's end of their socket and of a pipe
            for its stderr
    server  STARTED; no such packet means that there is no worker
    plugin  KILL, if it is to end
    server  how it ended, a C int as waitpid(2) has it

The server does nothing else, and holds nothing of any job.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from spank_qrmi.clients.http import open_client
from spank_qrmi.errors import QrmiError
from spank_qrmi.trust import privileges
from spank_qrmi.trust.files import open_trusted_folder
from spank_qrmi.trust.proc import read_proc
from spank_qrmi.trust.running_code import refuse_untrusted_code
from spank_qrmi.worker import process as worker

START = b"S"
KILL = b"K"
STARTED = b"R"

IDLE_SECONDS = 600.0
"""After so long without a job a server that systemd starts again holds no memory."""

_LISTENER = 3
"""The first descriptor that systemd passes on: sd_listen_fds(3)."""

# What a worker gets that slurmstepd starts. When Python starts, it decides how names of files are
# encoded, and then no more.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}

_CREDENTIALS = struct.Struct("3i")
_STATUS = struct.Struct("i")
_PASSED_COUNT = 2
_MOST_PACKET_BYTES = 4097
_BACKLOG = 512

# With their connections they stay below systemd's usual limit of 1024 descriptors.
_MOST_WORKERS = 512

# Whoever has been handed a worker is to have the processors first.
_QUIET_SECONDS = 0.05

# A worker is too short for garbage to matter, and to look for it would copy what it shares.
_GARBAGE_THRESHOLD = 200_000


class WorkerServer:
    """Hands out workers to whoever connects to `listener` and runs as this process's user.

    With `idle_seconds` it ends after so long without one.
    """

    def __init__(self, listener: socket.socket, idle_seconds: float | None = None) -> None:
        self._listener = listener
        self._idle_seconds = idle_seconds
        self._used_at = time.monotonic()
        self._poll = select.poll()
        self._connections: dict[int, _Connection] = {}
        self._ready: _ReadyWorker | None = None
        # One that has ended by itself is not replaced before somebody needs it.
        self._forks_ahead = True
        self._is_told_to_end = False
        self._is_ending = False
        self._woken, self._wake_up = socket.socketpair()

    def serve(self) -> None:
        """Serve until SIGTERM comes, its code was replaced or it is idle, and no worker is left.

        Who connects while there still are workers is sent away at once. Who connects after that is
        the next server's, which systemd starts.
        """
        self._watch_signals()
        self._poll.register(self._listener, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)
        while not self._is_ending or self._connections:
            events = self._poll.poll(self._milliseconds_to_wait())
            if not events:
                self._use_the_quiet()
            for descriptor, event in events:
                if descriptor == self._woken.fileno():
                    self._take_signals()
                elif descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor in self._connections:
                    has_hung_up = bool(event & select.POLLHUP)
                    self._hear(self._connections[descriptor], has_hung_up=has_hung_up)
        self._give_up_ready_worker()

    def _milliseconds_to_wait(self) -> float | None:
        if self._lacks_ready_worker():
            return _QUIET_SECONDS * 1000
        if self._is_ending or self._idle_seconds is None or self._connections:
            return None
        return max(0.0, self._used_at + self._idle_seconds - time.monotonic()) * 1000

    def _lacks_ready_worker(self) -> bool:
        """Return whether to fork one.

        Beside a single one at work it would only take memory; where several are, more will come.
        """
        at_work = sum(each.worker_pid is not None for each in self._connections.values())
        is_wanted = self._ready is None and self._forks_ahead and not self._is_ending
        return is_wanted and at_work != 1

    def _use_the_quiet(self) -> None:
        """Have a worker ready for the next plugin, or end if there was none for long."""
        if self._lacks_ready_worker():
            try:
                self._ready = self._fork()
            except OSError:
                self._forks_ahead = False
        elif self._milliseconds_to_wait() == 0.0:
            self._end()

    def _watch_signals(self) -> None:
        for end in (self._woken, self._wake_up):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake_up.fileno(), warn_on_full_buffer=False)
        # Without a handler of Python's there would be nothing to wake up for.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._note_order_to_end)

    def _note_order_to_end(self, *_: object) -> None:
        # Workers that end together may fill the socket: it says only that there was a signal.
        self._is_told_to_end = True

    def _take_signals(self) -> None:
        self._woken.recv(4096)
        if self._is_told_to_end:
            self._end()
        for connection in list(self._connections.values()):
            if connection.worker_pid is not None and _has_ended(connection.worker_pid):
                self._tell_end(connection, connection.worker_pid)
        if self._ready is not None and _has_ended(self._ready.pid):
            self._give_up_ready_worker()
            self._forks_ahead = False

    def _tell_end(self, connection: "_Connection", worker_pid: int) -> None:
        """Tell a plugin how its worker has ended, and end what that may have left."""
        # Before it is reaped: until then the number cannot be another's.
        _kill(worker_pid)
        _, status = os.waitpid(worker_pid, 0)
        with contextlib.suppress(OSError):
            connection.socket.send(_STATUS.pack(status))
        self._forget(connection)

    def _end(self) -> None:
        self._is_ending = True
        for connection in list(self._connections.values()):
            if connection.worker_pid is None:
                self._forget(connection)

    def _accept(self) -> None:
        self._used_at = time.monotonic()
        if not self._is_ending and _is_replaced():
            self._end()
        if self._is_ending and not self._connections:
            return
        with contextlib.suppress(OSError):
            accepted, _ = self._listener.accept()
            accepted.setblocking(False)
            pid, uid, _ = _CREDENTIALS.unpack(
                accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
            is_welcome = uid == os.geteuid() and len(self._connections) < _MOST_WORKERS
            # Without a number it is hidden by a namespace, and could not be told to live later.
            if is_welcome and pid and not self._is_ending:
                self._connections[accepted.fileno()] = _Connection(accepted, pid)
                self._poll.register(accepted, select.POLLIN)
            else:
                accepted.close()

    def _hear(self, connection: "_Connection", *, has_hung_up: bool) -> None:
        """Carry out an order; without one the plugin is gone, which its worker sees by itself."""
        if has_hung_up and connection.worker_pid is None:
            # It has waited too long, and started a worker itself.
            self._forget(connection)
            return
        try:
            packet, descriptors, _, _ = socket.recv_fds(
                connection.socket, _MOST_PACKET_BYTES, _PASSED_COUNT + 1
            )
        except OSError:
            packet, descriptors = b"", []
        order, interpreter = packet[:1], os.fsdecode(packet[1:])
        if connection.worker_pid is not None:
            if order == KILL:
                _kill(connection.worker_pid)
            else:
                self._poll.unregister(connection.socket)
        elif order != START or len(descriptors) != _PASSED_COUNT:
            self._forget(connection)
        elif interpreter.rpartition("/bin/")[0] != sys.prefix:
            # An installation has put another environment in the place of this one.
            self._forget(connection)
            self._end()
        else:
            self._hand_out(connection, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _hand_out(self, connection: "_Connection", descriptors: list[int]) -> None:
        """Give a plugin the worker that is ready, or a new one."""
        try:
            if self._ready is None or not self._ready.serve(connection.stepd_pid, descriptors):
                self._give_up_ready_worker()
                self._ready = self._fork()
                self._ready.serve(connection.stepd_pid, descriptors)
        except OSError:
            self._forget(connection)
            return
        self._forks_ahead = True
        connection.worker_pid = self._ready.pid
        self._ready.orders.close()
        self._ready = None
        with contextlib.suppress(OSError):
            connection.socket.send(STARTED)

    def _fork(self) -> "_ReadyWorker":
        """Return a new worker that waits for a plugin; raise OSError if there can be none."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            pid = os.fork()
            if pid == 0:
                try:
                    _stop_serving()
                    worker.wait_for_plugin(theirs)
                except BaseException:  # noqa: BLE001 (as a process of its own, it would show it)
                    sys.excepthook(*sys.exc_info())
                finally:
                    # The server's own work must not be done twice.
                    os._exit(1)
        return _ReadyWorker(pid, ours)

    def _give_up_ready_worker(self) -> None:
        if self._ready is not None:
            self._ready.orders.close()
            _kill(self._ready.pid)
            os.waitpid(self._ready.pid, 0)
            self._ready = None

    def _forget(self, connection: "_Connection") -> None:
        del self._connections[connection.socket.fileno()]
        with contextlib.suppress(KeyError):
            self._poll.unregister(connection.socket)
        connection.socket.close()


@dataclass
class _ReadyWorker:
    """A worker that nobody has yet; it ends when `orders` is closed."""

    pid: int
    orders: socket.socket

    def serve(self, stepd_pid: int, descriptors: list[int]) -> bool:
        """Let it serve the plugin in the process `stepd_pid`; return False if it is gone."""
        try:
            socket.send_fds(self.orders, [b"%d" % stepd_pid], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True


@dataclass
class _Connection:
    """A plugin in the process `stepd_pid`, and its worker once it has one."""

    socket: socket.socket
    stepd_pid: int
    worker_pid: int | None = None


def _has_ended(worker_pid: int) -> bool:
    """Return whether a worker has ended that is not reaped yet."""
    return os.waitid(os.P_PID, worker_pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _is_replaced() -> bool:
    """Return whether the interpreter or a library was replaced: an update is for workers too."""
    lines = read_proc("self/maps").splitlines()
    return any(b" r-xp " in line and line.endswith(b" (deleted)") for line in lines)


def _kill(worker_pid: int) -> None:
    """End a worker that is not reaped yet, and the group that it may have made its own."""
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError):
            kill(worker_pid, signal.SIGKILL)


def _stop_serving() -> None:
    """Make of this process, forked from the server, what slurmstepd would have started."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    privileges.block_signals()
    os.setsid()


def environment_for_server() -> dict[str, str]:
    """Return what to start the server with: what a worker gets, and what tells of the socket."""
    of_socket = os.environ.keys() & {"LISTEN_PID", "LISTEN_FDS"}
    return {**_ENVIRONMENT, **{name: os.environ[name] for name in of_socket}}


def _take_listener_of_systemd() -> socket.socket:
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        raise QrmiError(
            "it serves one socket of systemd's: start spank-qrmi-worker-server.socket, or name a "
            "path by --socket"
        )
    return socket.socket(fileno=_LISTENER)


def _make_listener(path: Path) -> socket.socket:
    """Return a listener at a path in a folder of root's alone; raise QrmiError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with (
            open_trusted_folder(path.parent, is_made=True),
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other,
        ):
            if other.connect_ex(str(path)) == 0:
                raise QrmiError(f"another worker server serves {path}")
        path.unlink(missing_ok=True)
        os.umask(0o177)
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        raise QrmiError(f"cannot serve {path}: {error.strerror or error}") from error
    return listener


def main(path: str | None = None) -> None:
    """Serve the socket that systemd has passed on, or one at `path`.

    Ends with one line on stderr where there is none.
    """
    try:
        refuse_untrusted_code()
        listener = _take_listener_of_systemd() if path is None else _make_listener(Path(path))
    except QrmiError as error:
        sys.exit(f"spank-qrmi: {error}")
    os.environ.clear()
    os.environ.update(_ENVIRONMENT)
    os.umask(0o077)
    os.chdir("/")
    # With the first client come OpenSSL's tables and the codecs of names: workers inherit them.
    open_client({})
    gc.set_threshold(_GARBAGE_THRESHOLD)
    gc.freeze()
    # Nobody would start one again that serves a socket of its own.
    WorkerServer(listener, IDLE_SECONDS if path is None else None).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
