# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process has open, told by itself: source code for programs that tests start."""

OPEN_DESCRIPTORS = """
import os

def open_descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}").partition(":")[0]
        except FileNotFoundError:
            pass  # The listing's own descriptor.
    return found
"""
