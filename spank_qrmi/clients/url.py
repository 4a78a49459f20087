# SPDX-License-Identifier: GPL-3.0-or-later
"""The address of a request, as name servers, TLS and HTTP take it."""

import re
from collections.abc import Mapping

from spank_qrmi.light.percent import quoted, quoted_pairs
from spank_qrmi.light.sockets import AF_INET6, inet_pton

_PORTS = {"http": 80, "https": 443}
_LAST_PORT = 65535

# The name of a host has at most 253 characters, and may end with one more dot.
_URL = re.compile(
    r"(https?)://(\[[0-9a-f:.]+\]|[^\\/?#@:\[\]]{1,254})(?::([0-9]{1,5}))?(/[^?#]*)?(?:\?([^#]*))?",
    re.IGNORECASE | re.ASCII,
)
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_HOST_NAME = re.compile(r"[a-z0-9_-][a-z0-9._-]*")
# Percent signs are left: what is encoded already is not encoded again.
_SAFE = "/%:@!$&'()*+,;=?"


class Url:
    """An absolute address by http or https, without user name and fragment.

    `host` is in lower case and ASCII, an IPv6 address without brackets; `target` is path and query.
    """

    __slots__ = ("host", "port", "scheme", "target")

    def __init__(self, text: str, query: Mapping[str, str] | None = None) -> None:
        """Raise ValueError if nothing can be sent there."""
        found = None if _CONTROL.search(text) else _URL.fullmatch(text)
        if found is None:
            raise ValueError("neither http nor https, or no host")
        scheme, host, port, path, own_query = found.groups()
        self.scheme = scheme.lower()
        self.host = _ascii_host(host)
        self.port = int(port) if port else _PORTS[self.scheme]
        if self.port > _LAST_PORT:
            raise ValueError("no such port")
        asked = quoted_pairs(query) if query else quoted(own_query or "", _SAFE)
        self.target = quoted(path or "/", _SAFE) + (f"?{asked}" if asked else "")

    @property
    def is_tls(self) -> bool:
        """Return whether it is by https."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Return host and port."""
        return f"{self._bracketed_host}:{self.port}"

    @property
    def host_header(self) -> str:
        """Return host and port, the port left out if the scheme says it."""
        return self._bracketed_host if self.port == _PORTS[self.scheme] else self.authority

    @property
    def path(self) -> str:
        """Return the path without the query."""
        return self.target.partition("?")[0]

    @property
    def _bracketed_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def _ascii_host(host: str) -> str:
    """Return the host as it is looked up; raise ValueError if that would be another or none."""
    lower = host.lower()
    if lower.startswith("["):
        try:
            inet_pton(AF_INET6, lower[1:-1])
        except OSError as error:
            raise ValueError("no IPv6 address") from error
        return lower[1:-1]
    name = lower
    if not host.isascii():
        # The codec is of IDNA 2003: some names it turns into others than today's rules do.
        try:
            name = lower.encode("idna").decode("ascii")
            is_same = name != lower and name.encode("ascii").decode("idna") == lower
        except (LookupError, OSError) as error:
            # It is read when first used, and a process that has given up root may not be able to.
            raise ValueError("the codec cannot be read") from error
        if not is_same:
            raise ValueError("the name would become another")
    if not _HOST_NAME.fullmatch(name):
        raise ValueError("no name of a host")
    return name
