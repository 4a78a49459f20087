# SPDX-License-Identifier: GPL-3.0-or-later
"""Closing what was inherited, as quickly where a process may have a billion files open."""

from tests.unit.open_descriptors import OPEN_DESCRIPTORS
from tests.unit.outcomes import said_by

PROGRAM = f"""{OPEN_DESCRIPTORS}
import socket
from spank_qrmi.trust.descriptors import keep_only

def never(*_):
    raise AssertionError("tried numbers that nobody has opened")

os.closerange = never
other, channel = socket.socketpair()
for number in (100, 250):
    os.dup2(other.fileno(), number)
other.detach()
kept = keep_only(channel)
print(sorted(open_descriptors()), kept.fileno())
"""


def test_all_but_a_socket_and_the_standard_streams_are_closed() -> None:
    assert said_by(PROGRAM) == ("[0, 1, 2, 3] 3\n", "")
