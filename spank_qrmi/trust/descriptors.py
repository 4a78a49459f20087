# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process has open."""

import contextlib
import os


def close_from(first: int) -> None:
    """Close this descriptor and all above it.

    Only those that are open: without close_range(2), to try every number takes minutes where a
    container may have a billion of them.
    """
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 (numbers, no paths)
        if descriptor >= first:
            # That of the listing itself is closed already.
            with contextlib.suppress(OSError):
                os.close(descriptor)
