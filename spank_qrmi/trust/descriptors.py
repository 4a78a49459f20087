# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process has open."""

import contextlib
import os
import socket

_CHANNEL_DESCRIPTOR = 3


def keep_only(channel: socket.socket) -> socket.socket:
    """Close all but this socket and the standard streams; return the socket, which may move.

    Whoever has started or forked this process may have left anything open.
    """
    if channel.fileno() != _CHANNEL_DESCRIPTOR:
        os.dup2(channel.detach(), _CHANNEL_DESCRIPTOR, inheritable=False)
        channel = socket.socket(fileno=_CHANNEL_DESCRIPTOR)
    # Only those that are open: without close_range(2), to try every number takes minutes where a
    # container may have a billion of them.
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 (numbers, no paths)
        if descriptor > _CHANNEL_DESCRIPTOR:
            # That of the listing itself is closed already.
            with contextlib.suppress(OSError):
                os.close(descriptor)
    return channel
