# SPDX-License-Identifier: GPL-3.0-or-later
"""Percent-encoding (RFC 3986, 2.1), without urllib, which imports for 2 ms more than it."""

from collections.abc import Mapping

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quoted(text: str, safe: str = "", errors: str = "strict") -> str:
    """Return the text with all but letters, digits, `-._~` and what is `safe` encoded.

    Raises UnicodeEncodeError for what is no text, unless `errors` names another handler.
    """
    kept = _UNRESERVED.union(safe.encode("ascii"))
    encoded = text.encode("utf-8", errors)
    return "".join(chr(byte) if byte in kept else f"%{byte:02X}" for byte in encoded)


def quoted_pairs(pairs: Mapping[str, str]) -> str:
    """Return names and values as a query, or as a form is sent; raises as `quoted` does."""
    return "&".join(f"{quoted(name)}={quoted(value)}" for name, value in pairs.items())
