# SPDX-License-Identifier: GPL-3.0-or-later
"""How clients reach what listens on a host and port."""

import socket

ALL_INTERFACES = frozenset({"0.0.0.0", "::"})  # noqa: S104 (recognised, not bound)


def base_url(host: str, port: int) -> str:
    """Return the URL, without a slash at its end; for all interfaces, with this machine's name."""
    name = socket.gethostname() if host in ALL_INTERFACES else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
