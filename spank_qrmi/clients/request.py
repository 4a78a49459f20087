# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent where, checked so that it means the same to everybody who reads it."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, urlencode, urlsplit

import orjson

from spank_qrmi import __version__
from spank_qrmi.clients.retry import RequestError
from spank_qrmi.redaction import printable, without

USER_AGENT = f"spank-qrmi/{__version__}"

_BASE_URL = re.compile(
    r"https?://(\[[0-9a-f:.]+\]|[^\s\\/?#@:\[\]]+)(:[0-9]{1,5})?(/[^\s\\?#]*)?", re.IGNORECASE
)
_SHOWN_PATH_LIMIT = 200
_LONGEST_COMPARED = 2000
_PORTS = {"http": 80, "https": 443}
# Percent signs are left: what is encoded already is not encoded again.
_SAFE_IN_PATH = "/%:@!$&'()*+,;="
# At most 253 characters, and one more dot at the end.
_HOST_NAME = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,253}")
_FOUR_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+){3}")


@dataclass(frozen=True)
class HttpRequest:
    """One request, ready to be sent as often as needed.

    `origin` is scheme, host and port, `target` path and query, all in ASCII. `secrets` are the
    values that no text may show.
    """

    method: str
    origin: str
    target: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    is_repeatable: bool

    @property
    def authority(self) -> str:
        """Return host and port."""
        return self.origin.partition("://")[2]

    @property
    def path(self) -> str:
        """Return the path without the query and what is secret in it."""
        return without(self.secrets, self.target.partition("?")[0])[:_SHOWN_PATH_LIMIT]

    @property
    def source(self) -> str:
        """Return the URL without the query and what is secret in it."""
        return printable(f"{self.origin}{self.path}")


def base_url(text: str) -> str | None:
    """Return `text` as a base URL without trailing slash, None if it is none.

    User name, query and fragment are refused: paths are appended to it, and it is shown.
    """
    url = text.rstrip("/")
    return url if url.isprintable() and _BASE_URL.fullmatch(url) else None


def plain_url(text: str) -> str | None:
    """Return a base URL as every spelling of it reads, None if it is none or too long to tell.

    The case of its host, a port that is its scheme's and slashes at its end say nothing.
    """
    # Names that are not ASCII take time by the square of their length.
    url = base_url(text) if len(text) <= _LONGEST_COMPARED else None
    # Of what others would send elsewhere there is one spelling.
    with suppress(ValueError):
        return None if url is None else "".join(split_url(url))
    return None


def is_header_value(text: str) -> bool:
    """Return whether a header can carry `text`."""
    return text.isascii() and text.isprintable()


def split_url(text: str) -> tuple[str, str]:
    """Return a URL's origin, its port included, and its path, both in ASCII.

    Raises ValueError if nothing can be sent there, or if others would send it elsewhere.
    """
    written = urlsplit(text)
    if base_url(text) is None or written.scheme not in _PORTS:
        raise ValueError("neither http nor https, or no host")
    host = _plain_host(written.hostname or "")
    if not written.netloc.isascii() and host == written.hostname:
        raise ValueError("letters that only look like those of the host")
    port = _PORTS[written.scheme] if written.port is None else written.port
    if port == 0:
        raise ValueError("httpcore takes it for none")
    path = quote(written.path or "/", safe=_SAFE_IN_PATH)
    if {".", ".."}.intersection(path.split("/")):
        raise ValueError("the path leads to another")
    return f"{written.scheme}://{host}:{port}", path


def split_checked_url(text: str, query: Mapping[str, str] | None) -> tuple[str, str]:
    """Return origin and target; raise RequestError if nothing can be sent there."""
    # What these say themselves may hold the query.
    with suppress(ValueError):
        origin, path = split_url(text)
        return origin, f"{path}?{urlencode(query, quote_via=quote)}" if query else path
    raise RequestError("an endpoint's URL cannot be used: correct the resource's endpoints")


def encode_body(
    json: Mapping[str, object] | None, form: Mapping[str, str] | None
) -> tuple[str | None, bytes | None]:
    """Return the content type and the bytes of the body; raise RequestError if there are none."""
    # What these say themselves may hold a credential.
    with suppress(TypeError, ValueError):
        if json is not None:
            return "application/json", orjson.dumps(json)
        if form is not None:
            return "application/x-www-form-urlencoded", urlencode(form, quote_via=quote).encode()
        return None, None
    raise RequestError("a setting of the resource has characters that cannot be sent")


def all_headers(headers: Mapping[str, str], body_type: str | None) -> dict[str, str]:
    """Return `headers` with our own; raise RequestError if one holds what cannot be sent."""
    for name, value in headers.items():
        if not is_header_value(value) or value != value.strip():
            raise RequestError(f"the value of the header {name} has characters that cannot be sent")
    return {
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        # Beside the limit of http's client, by which one just left idle could still be used again.
        "Connection": "close",
        **({"Content-Type": body_type} if body_type else {}),
        **headers,
    }


def _plain_host(host: str) -> str:
    """Return a host in ASCII as it is looked up; raise ValueError if that would be another."""
    if ":" in host:
        return f"[{IPv6Address(host)}]"
    # The codec is of IDNA 2003: some names it turns into others than today's rules do.
    name = host.encode("idna").decode("ascii")
    if name.encode("ascii").decode("idna") != host and not host.isascii():
        raise ValueError("the name would become another")
    if not _HOST_NAME.fullmatch(name):
        raise ValueError("no name of a host")
    return str(IPv4Address(name)) if _FOUR_NUMBERS.fullmatch(name) else name
