# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process gives up for good, tried in processes of their own."""

import subprocess
import sys

ASK = """
import socket
from collections.abc import Callable

PLACE = ("127.0.0.1", 9)

def refusals() -> dict[str, str]:
    "Return what comes of each way to the network."
    def opened(kind: socket.SocketKind) -> socket.socket:
        return socket.socket(socket.AF_INET, kind)

    ways: dict[str, Callable[[], object]] = {
        "create_connection": lambda: socket.create_connection(PLACE, timeout=5),
        "connect": lambda: opened(socket.SOCK_STREAM).connect(PLACE),
        "connect_ex": lambda: opened(socket.SOCK_STREAM).connect_ex(PLACE),
        "bind": lambda: opened(socket.SOCK_STREAM).bind(("127.0.0.1", 0)),
        "sendto": lambda: opened(socket.SOCK_DGRAM).sendto(b"x", PLACE),
        "sendmsg": lambda: opened(socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, PLACE),
        "getaddrinfo": lambda: socket.getaddrinfo("localhost", 9),
        "gethostbyname": lambda: socket.gethostbyname("localhost"),
        "gethostbyname_ex": lambda: socket.gethostbyname_ex("localhost"),
        "gethostbyaddr": lambda: socket.gethostbyaddr("127.0.0.1"),
        "getfqdn": lambda: socket.gethostbyaddr("localhost"),
        "getnameinfo": lambda: socket.getnameinfo(PLACE, 0),
    }
    found = {}
    for name, way in ways.items():
        try:
            found[name] = repr(way())
        except PermissionError as error:
            found[name] = "refused" if "has given up root" in str(error) else str(error)
    return found
"""
"""A program that tries to ask, in a way that a process of a test can use."""


def test_process_that_may_not_ask_speaks_with_those_it_knows_and_finds_no_way_to_others() -> None:
    program = f"""{ASK}
from spank_qrmi.trust.privileges import refuse_to_ask
ours, theirs = socket.socketpair()
refuse_to_ask()
ours.sendall(b"order")
print(theirs.recv(16))
print({{what for what in refusals().items() if what[1] != "refused"}} or "all refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("b'order'\nall refused\n", "")
