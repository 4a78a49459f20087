# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker server behind a socket, and its clients as the plugins are."""

import contextlib
import socket
import struct
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from loopback.socket_unit import SocketUnit
from spank_qrmi.worker.server import KILL, START, STARTED

PATIENCE_SECONDS = 60

# Tests may run as root on files that are an ordinary user's.
PROGRAM = """
import os, signal, socket, sys, time
from spank_qrmi.worker import process as worker
from spank_qrmi.worker import server as worker_server
worker_server.refuse_untrusted_code = worker.refuse_untrusted_code = lambda *_: None
{preparation}
worker_server.main()
"""


def worker_server(folder: Path, preparation: str = "") -> SocketUnit:
    """Return a server in `folder` which does something more before it serves."""
    program = PROGRAM.format(preparation=preparation)
    return SocketUnit(folder / "socket", [sys.executable, "-I", "-c", program], folder)


@dataclass
class ServedWorker:
    """A connection to the server, and the plugin's ends of what its worker has."""

    connection: socket.socket
    channel: socket.socket
    stderr: socket.socket

    def is_started(self) -> bool:
        # A server that hangs up may not have read the order.
        with contextlib.suppress(ConnectionResetError):
            return self.connection.recv(16) == STARTED
        return False

    def kill(self) -> None:
        self.connection.send(KILL)

    def status(self) -> int | None:
        """Return how the worker ended, None if nobody tells."""
        packet = self.connection.recv(16)
        return struct.unpack("i", packet)[0] if packet else None

    def said(self) -> bytes:
        """Return all that is sent to the plugin until the other end is closed."""
        return b"".join(iter(lambda: self.channel.recv(65536), b""))


@contextlib.contextmanager
def asked(
    path: Path, packet: bytes = START + sys.executable.encode(), descriptor_count: int = 2
) -> Iterator[ServedWorker]:
    """Ask the server at a path for a worker, as a plugin does."""
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        ends = [stack.enter_context(end) for _ in range(2) for end in socket.socketpair()]
        for each in (connection, ends[0], ends[2]):
            each.settimeout(PATIENCE_SECONDS)
        connection.connect(str(path))
        passed = [end.fileno() for end in (ends[1], ends[3], *ends)][:descriptor_count]
        with contextlib.suppress(BrokenPipeError):
            socket.send_fds(connection, [packet], passed)
        for end in (ends[1], ends[3]):
            end.close()
        yield ServedWorker(connection, ends[0], ends[2])


@contextlib.contextmanager
def silent_server(path: Path) -> Iterator[socket.socket]:
    """Listen without ever accepting: a server that hangs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


@contextlib.contextmanager
def scripted_server(path: Path, *packets: bytes) -> Iterator[None]:
    """Answer one plugin with these packets, and hang up."""

    def serve() -> None:
        # The pool waits for this, even if no plugin ever asks.
        listener.settimeout(PATIENCE_SECONDS)
        connection, _ = listener.accept()
        with connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 8192, 2)
            for packet in packets:
                connection.send(packet)
        for each in descriptors:
            socket.close(each)

    with silent_server(path) as listener, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve)
        yield
        served.result(PATIENCE_SECONDS)
