# SPDX-License-Identifier: GPL-3.0-or-later
"""`socket`, as far as a worker needs it before it asks anything: the C module below.

What the standard library puts on top, above all enumerations of constants, takes 2 ms to import.
"""

from _socket import (
    AF_INET6,
    SHUT_RDWR,
    SO_SNDTIMEO,
    SOL_SOCKET,
    inet_aton,
    inet_pton,
    socketpair,
)
from _socket import socket as Socket  # noqa: N812 (a class)

__all__ = [
    "AF_INET6",
    "SHUT_RDWR",
    "SOL_SOCKET",
    "SO_SNDTIMEO",
    "Socket",
    "inet_aton",
    "inet_pton",
    "socketpair",
]
