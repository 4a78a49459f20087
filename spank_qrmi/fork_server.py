# SPDX-License-Identifier: GPL-3.0-or-later
"""The fork server: it has imported what workers need, and forks one for each plugin that connects.

Nothing needs it: a worker that is started anew does the same, and takes longer to begin. Its socket
is one of systemd's, of packets (SOCK_SEQPACKET). A connection stands for one worker:

    plugin  START and its worker's interpreter, with that one's end of their socket and of a pipe
            for its stderr
    server  STARTED; no such packet means that there is no worker
    plugin  KILL, if it is to end
    server  how it ended, a C int as waitpid(2) has it

The server does nothing else, and holds nothing of any job.
"""

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import stat
import struct
import sys
from collections.abc import Collection

from spank_qrmi import worker
from spank_qrmi.errors import QrmiError
from spank_qrmi.network.server import block_signals, import_http
from spank_qrmi.proc import read_proc
from spank_qrmi.trust.running_code import places_of_code, refuse_untrusted_code

START = b"S"
KILL = b"K"
STARTED = b"R"

_LISTENER = 3
"""The first descriptor that systemd passes on: sd_listen_fds(3)."""

# Beside what is imported with these.
_PRELOADED = ("spank_qrmi.clients.tls", "spank_qrmi.verbs", "spank_qrmi.qrun_verbs")

# What a worker gets that slurmstepd starts. When Python starts, it decides how names of files are
# encoded, and then no more.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
_OF_SOCKET = ("LISTEN_PID", "LISTEN_FDS")

_CREDENTIALS = struct.Struct("3i")
_STATUS = struct.Struct("i")
_PASSED_COUNT = 2
_MOST_PACKET_BYTES = 4097

# With their connections they stay below systemd's usual limit of 1024 descriptors.
_MOST_WORKERS = 512

# As for a worker that slurmstepd starts: worker_process.pxd.
_GARBAGE_THRESHOLD = 200_000


class ForkServer:
    """Forks workers for whoever connects to `listener` and runs as this process's user.

    Of the files in `found_trusted` it is known that nobody else may change them.
    """

    def __init__(self, listener: socket.socket, found_trusted: Collection[str]) -> None:
        self._listener = listener
        self._found_trusted = found_trusted
        self._code = _state_of_code()
        self._poll = select.poll()
        self._connections: dict[int, _Connection] = {}
        self._is_told_to_end = False
        self._is_ending = False
        self._woken, self._wake_up = socket.socketpair()

    def serve(self) -> None:
        """Serve until SIGTERM comes or the code on disk has changed, and every worker has ended.

        Who connects while there still are workers is sent away at once. Who connects after that is
        the next server's, which systemd starts.
        """
        self._watch_signals()
        self._poll.register(self._listener, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)
        while not self._is_ending or self._connections:
            for descriptor, events in self._poll.poll():
                if descriptor == self._woken.fileno():
                    self._take_signals()
                elif descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor in self._connections:
                    has_hung_up = bool(events & select.POLLHUP)
                    self._hear(self._connections[descriptor], has_hung_up=has_hung_up)

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
            if connection.has_ended():
                self._forget(connection)

    def _end(self) -> None:
        self._is_ending = True
        for connection in list(self._connections.values()):
            if connection.worker_pid is None:
                self._forget(connection)

    def _accept(self) -> None:
        if not self._is_ending and _state_of_code() != self._code:
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
        packet, descriptors = connection.received()
        order, interpreter = packet[:1], os.fsdecode(packet[1:])
        if connection.worker_pid is not None:
            if order == KILL:
                _kill(connection.worker_pid)
            else:
                self._poll.unregister(connection.socket)
        elif order != START or len(descriptors) != _PASSED_COUNT:
            self._forget(connection)
        elif not _is_ours(interpreter):
            # An installation has put another environment in the place of this one.
            self._forget(connection)
            self._end()
        else:
            self._start(connection, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _start(self, connection: "_Connection", channel: int, stderr_end: int) -> None:
        try:
            pid = os.fork()
        except OSError:
            self._forget(connection)
            return
        if pid == 0:
            try:
                _become_worker(channel, stderr_end)
                worker.main(connection.stepd_pid, self._found_trusted)
            except BaseException:  # noqa: BLE001 (as a process of its own, it would show it)
                sys.excepthook(*sys.exc_info())
            finally:
                # The server's own work must not be done twice.
                os._exit(1)
        connection.worker_pid = pid
        with contextlib.suppress(OSError):
            connection.socket.send(STARTED)

    def _forget(self, connection: "_Connection") -> None:
        del self._connections[connection.socket.fileno()]
        with contextlib.suppress(KeyError):
            self._poll.unregister(connection.socket)
        connection.socket.close()


class _Connection:
    """A plugin in the process `stepd_pid`, and its worker once that was forked."""

    def __init__(self, accepted: socket.socket, stepd_pid: int) -> None:
        self.socket = accepted
        self.stepd_pid = stepd_pid
        self.worker_pid: int | None = None

    def received(self) -> tuple[bytes, list[int]]:
        """Return a packet, empty if there will be none, and the descriptors that came with it."""
        try:
            packet, descriptors, _, _ = socket.recv_fds(
                self.socket, _MOST_PACKET_BYTES, _PASSED_COUNT + 1
            )
        except OSError:
            return b"", []
        return packet, descriptors

    def has_ended(self) -> bool:
        """Return whether the worker is gone; tell its plugin, and end what it may have left."""
        if self.worker_pid is None:
            return False
        found = os.waitid(os.P_PID, self.worker_pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return False
        # Before it is reaped: until then the number cannot be another's.
        _kill(self.worker_pid)
        _, status = os.waitpid(self.worker_pid, 0)
        with contextlib.suppress(OSError):
            self.socket.send(_STATUS.pack(status))
        return True


def _is_ours(interpreter: str) -> bool:
    """Return whether an interpreter is of this process's environment."""
    return interpreter.rpartition("/bin/")[0] == sys.prefix


def _kill(worker_pid: int) -> None:
    """End a worker that is not reaped yet, and the group that it may have made its own."""
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError):
            kill(worker_pid, signal.SIGKILL)


def _become_worker(channel: int, stderr_end: int) -> None:
    """Make of this process, which was forked for it, what slurmstepd would have started."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    block_signals()
    os.setsid()
    os.dup2(channel, 0)
    os.dup2(channel, 1)
    os.dup2(stderr_end, 2)


def _state_of_code() -> dict[str, tuple[int, ...]]:
    """Return of each file and folder of code what changes with it, who may change it included."""
    return {place: _state_of(place) for place in places_of_code() | _mapped_files()}


def _mapped_files() -> set[str]:
    """Return the interpreter and all libraries: a system's update of OpenSSL is for workers too."""
    lines = read_proc("self/maps").splitlines()
    return {os.fsdecode(line[line.index(b"/") :]) for line in lines if b"/" in line}


def _state_of(place: str) -> tuple[int, ...]:
    try:
        found = os.stat(place)  # noqa: PTH116 (there are hundreds)
    except OSError:
        return ()
    state = (found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid)
    # Byte code may be written beside others, into a folder that stays what it was.
    return state if stat.S_ISDIR(found.st_mode) else (*state, found.st_mtime_ns, found.st_size)


def environment() -> dict[str, str]:
    """Return what to start the server with: what a worker gets, and what tells of the socket."""
    of_socket = {name: os.environ[name] for name in _OF_SOCKET if name in os.environ}
    return {**_ENVIRONMENT, **of_socket}


def _listener() -> socket.socket:
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        raise QrmiError("it serves one socket of systemd's: start spank-qrmi-fork-server.socket")
    return socket.socket(fileno=_LISTENER)


def import_for_workers() -> None:
    """Import all that workers and their network processes do."""
    import_http()
    for name in _PRELOADED:
        importlib.import_module(name)


def main() -> None:
    """Serve the socket that systemd has passed on; end with one line on stderr where none is."""
    found_trusted: set[str] = set()
    try:
        listener = _listener()
        import_for_workers()
        refuse_untrusted_code(found_trusted)
    except QrmiError as error:
        sys.exit(f"spank-qrmi: {error}")
    os.environ.clear()
    os.environ.update(_ENVIRONMENT)
    os.umask(0o077)
    os.chdir("/")
    gc.set_threshold(_GARBAGE_THRESHOLD)
    gc.freeze()
    ForkServer(listener, found_trusted).serve()


if __name__ == "__main__":
    main()
