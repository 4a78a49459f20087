# SPDX-License-Identifier: GPL-3.0-or-later
"""Which proxy leads to which service, as http_proxy, https_proxy, all_proxy and no_proxy say."""

import re
from binascii import b2a_base64
from collections.abc import Callable, Mapping

from spank_qrmi.clients.transport import SettingsError
from spank_qrmi.clients.url import Url
from spank_qrmi.light.sockets import AF_INET6, inet_aton, inet_pton

_ENDS_A_LOGIN = re.compile(r"[/?#]")

_LONGEST_PORT = len("65535")

_Matches = Callable[[Url], bool]


class Proxy:
    """An HTTP proxy; `headers` prove to it who we are, and are for nobody else.

    `text` is its address with the login, as other libraries take it.
    """

    def __init__(self, url: Url, headers: Mapping[str, str], text: str) -> None:
        self.url = url
        self.headers = headers
        self.text = text


class Proxies:
    """The proxies that a set of variables names.

    A name in lower case wins over the same in upper case, even if its value is empty. An entry of
    no_proxy is a host with all below it (`.host`, `*.host`: only what is below), an address however
    it is spelled, each with a port if only that is meant, a network as `10.0.0.0/8`, or `*` for
    all; commas or spaces separate entries. Raises SettingsError for a proxy that cannot be used.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        by_name = {
            scheme: _proxy(name, _value(variables, name))
            for scheme, name in (
                ("http", "http_proxy"),
                ("https", "https_proxy"),
                ("all", "all_proxy"),
            )
        }
        self._by_scheme = {
            scheme: by_name[scheme] or by_name["all"] for scheme in ("http", "https")
        }
        entries = _value(variables, "no_proxy").lower().replace(",", " ").split()
        self._exceptions = [_exception(each) for each in entries]

    def proxy_for(self, url: Url) -> Proxy | None:
        """Return the proxy for a request, None if it goes straight to the service."""
        proxy = self._by_scheme[url.scheme]
        if proxy is None or any(matches(url) for matches in self._exceptions):
            return None
        return proxy


def _value(variables: Mapping[str, str], name: str) -> str:
    return variables.get(name, variables.get(name.upper(), ""))


def _proxy(name: str, value: str) -> Proxy | None:
    """Return the proxy that a variable names; no text of an error shows its value, a secret."""
    if not value:
        return None
    message = (
        f"{name}: write the proxy as http://host:port; https:// and socks:// are not supported"
    )
    scheme, separator, rest = value.partition("://")
    login, at, place = (rest if separator else value).rpartition("@")
    try:
        url = Url(f"{scheme if separator else 'http'}://{place}")
        headers = _proof(login) if login else {}
    except ValueError:
        # What it was raised from may hold the password.
        raise SettingsError(message) from None
    if url.is_tls or url.target != "/" or _ENDS_A_LOGIN.search(login):
        raise SettingsError(message)
    return Proxy(url, headers, f"http://{login}{at}{url.authority}")


def _proof(login: str) -> dict[str, str]:
    """Return the header that proves who we are; raise ValueError for a login that is no text."""
    # Few proxies want a password, and it takes long to import.
    from urllib.parse import unquote_to_bytes  # noqa: PLC0415 (see above)

    user, _, password = login.partition(":")
    proof = b2a_base64(unquote_to_bytes(user) + b":" + unquote_to_bytes(password), newline=False)
    return {"Proxy-Authorization": f"Basic {proof.decode('ascii')}"}


def _exception(entry: str) -> _Matches:
    """Return what tells whether an entry of no_proxy means a request."""
    scheme, _, place = entry.rpartition("://")
    if not scheme and "/" in place:
        return _in_network(place)
    host, port = _host_and_port(place.partition("/")[0])
    if host.startswith("*"):
        host = host[1:]
    address = _address(host)

    def matches(url: Url) -> bool:
        is_host = (
            not host
            or url.host == host
            or url.host.endswith(host if host.startswith(".") else f".{host}")
            or (address is not None and _address(url.host) == address)
        )
        return is_host and scheme in {"", "all", url.scheme} and port in {None, url.port}

    return matches


def _host_and_port(place: str) -> tuple[str, int | None]:
    """Return both parts of `host:port`; an IPv6 address has a port only behind brackets."""
    host, _, port = place.rpartition(":")
    is_port = port.isdecimal() and len(port) <= _LONGEST_PORT
    if is_port and (":" not in host or host.endswith("]")):
        return host.strip("[]"), int(port)
    return place.strip("[]"), None


def _address(host: str) -> bytes | None:
    """Return the address that a host stands for, None if a name server would be asked."""
    try:
        return inet_pton(AF_INET6, host) if ":" in host else inet_aton(host)
    except (OSError, ValueError):
        return None


def _in_network(text: str) -> _Matches:
    # Imported while all can be read, as variables are, and only by those who have such an entry.
    import ipaddress  # noqa: PLC0415 (see above)

    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return lambda _: False

    def matches(url: Url) -> bool:
        address = _address(url.host)
        return address is not None and ipaddress.ip_address(address) in network

    return matches
