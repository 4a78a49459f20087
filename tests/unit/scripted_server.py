# SPDX-License-Identifier: GPL-3.0-or-later
"""A server on loopback that answers with given bytes, and a proxy that opens tunnels."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
HANG_UP = b"\0hang up"
"""At the end of an answer, or alone: the connection ends then."""


@dataclass
class ScriptedServer:
    """Answers each request with the next text, the last one again and again."""

    answers: list[bytes]
    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        while request := received_request(connection):
            self.requests.append(request)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            connection.sendall(answer.removesuffix(HANG_UP))
            if answer.endswith(HANG_UP):
                return


@contextmanager
def scripted_server(*answers: bytes) -> Iterator[ScriptedServer]:
    server = ScriptedServer([*answers])
    with listening(server.serve, server.connections) as server.port:
        yield server


@contextmanager
def asked_server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Give the URL of a server that does something with each connection once it is asked."""

    def read_and_serve(connection: socket.socket) -> None:
        received_request(connection)
        serve(connection)

    with listening(read_and_serve, []) as port:
        yield f"http://127.0.0.1:{port}/path"


def drip(start: bytes) -> Callable[[socket.socket], None]:
    """Return what serves an answer that never ends, byte by byte."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(b"x")
            time.sleep(0.01)

    return serve


@contextmanager
def tunnelling_proxy() -> Iterator[tuple[int, list[bytes]]]:
    """Give the port of a proxy that opens every tunnel it is asked for, and what it was asked."""
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        asked.append(received_request(connection))
        host, port = asked[-1].split()[1].decode().rsplit(":", 1)
        with socket.create_connection((host, int(port))) as service:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(service, connection))
            back.start()
            pump(connection, service)
            back.join()

    with listening(serve, []) as port:
        yield port, asked


@contextmanager
def listening(
    serve: Callable[[socket.socket], None], connections: list[socket.socket]
) -> Iterator[int]:
    """Serve each connection in a thread, and give the port; nothing of it is left behind."""
    threads: list[threading.Thread] = []

    def run() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.settimeout(60)
                connections.append(connection)
                threads.append(threading.Thread(target=serve_one, args=(connection,)))
                threads[-1].start()

    def serve_one(connection: socket.socket) -> None:
        with suppress(OSError):
            serve(connection)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=run)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for connection in connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for connection in connections:
                connection.close()


def lines_of(request: bytes) -> list[str]:
    return request.partition(b"\r\n\r\n")[0].decode().split("\r\n")


def received_request(connection: socket.socket) -> bytes:
    """Return a whole request, or what came of it before the end."""
    received = b""
    while True:
        head, separator, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
        if separator and len(body) >= (int(length[1]) if length else 0):
            return received
        more = connection.recv(65536)
        if not more:
            return received
        received += more


def pump(source: socket.socket, destination: socket.socket) -> None:
    with suppress(OSError):
        while more := source.recv(65536):
            destination.sendall(more)
    with suppress(OSError):
        destination.shutdown(socket.SHUT_WR)
