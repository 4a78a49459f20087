# SPDX-License-Identifier: GPL-3.0-or-later
"""Closing what was inherited, as quickly where a process may have a billion files open."""

from tests.unit.outcomes import said_by

PROGRAM = """
import os, socket
from spank_qrmi.trust.descriptors import keep_only

def never(*_):
    raise AssertionError("tried numbers that nobody has opened")

os.closerange = never
other, channel = socket.socketpair()
for number in (100, 250):
    os.dup2(other.fileno(), number)
other.detach()
kept = keep_only(channel)
left = []
for number in range(1000):
    try:
        os.fstat(number)
    except OSError:
        continue
    left.append(number)
print(left, kept.fileno())
"""


def test_all_but_a_socket_and_the_standard_streams_are_closed() -> None:
    assert said_by(PROGRAM) == ("[0, 1, 2, 3] 3\n", "")
