# SPDX-License-Identifier: GPL-3.0-or-later
"""Closing what was inherited, as quickly where a process may have a billion files open."""

import subprocess
import sys

PROGRAM = """
import os
from spank_qrmi.trust.descriptors import close_from

def never(*_):
    raise AssertionError("tried numbers that nobody has opened")

os.closerange = never
kept = os.open("/dev/null", os.O_RDONLY)
for number in (kept + 1, 100, 250):
    os.dup2(kept, number)
close_from(kept + 1)
left = []
for number in range(1000):
    try:
        os.fstat(number)
    except OSError:
        continue
    left.append(number)
print(left, kept)
"""


def test_all_from_one_on_are_closed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[0, 1, 2, 3] 3\n"
