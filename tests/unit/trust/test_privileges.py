# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process gives up for good, tried in processes of their own."""

import signal

from tests.unit.outcomes import said_by
from tests.unit.trust.test_files import needs_root

ASK = """
import socket

def refusals() -> dict[str, str]:
    "Return what comes of each way to the network."
    place = ("127.0.0.1", 9)
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ways = {
        "connect": lambda: channel.connect(place),
        "bind": lambda: channel.bind(("127.0.0.1", 0)),
        "sendto": lambda: channel.sendto(b"x", place),
        "sendmsg": lambda: channel.sendmsg([b"x"], [], 0, place),
        "getaddrinfo": lambda: socket.getaddrinfo("localhost", 9),
        "gethostbyname": lambda: socket.gethostbyname("localhost"),
        "gethostbyaddr": lambda: socket.gethostbyaddr("127.0.0.1"),
        "getnameinfo": lambda: socket.getnameinfo(place, 0),
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
    assert said_by(program) == ("b'order'\nall refused\n", "")


SEALED = """
import ctypes
import os
from spank_qrmi.trust.privileges import become, seal
os.setgroups([0, 1])
become(65534, 65534)
seal(os.getppid())
PR_GET_PDEATHSIG = 2
ending = ctypes.c_int()
ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(ending))
print(os.getgroups(), ending.value)
"""


@needs_root
def test_groups_of_root_are_given_up_and_the_end_of_the_parent_ends_it() -> None:
    assert said_by(SEALED) == (f"[] {signal.SIGKILL.value}\n", "")
