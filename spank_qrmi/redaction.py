# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not be seen in a log: which variables are secret, and how text is cleared of them."""

import re
import threading
from collections.abc import Iterable

from spank_qrmi.escaped_text import places_of

MASK = "****"

_SECRET_WORDS = ("KEY", "SECRET", "TOKEN", "PASSWORD", "CRN", "SESSION_ID")

# RFC 3986, 3.1, as plugin/masking.pxd has it: a password may hold "://" too.
_SCHEME = re.compile(r"[A-Za-z0-9+.-]*://")

_SHORTEST_MASKED = 6
"""Shorter values occur in ordinary words: masking "a" everywhere would only hide the message."""


_URL_USER = re.compile(r"[^\s/?#]*@")
_URL_QUERY = re.compile(r"([^\s?]*\?)[^\s\"'<>]+")


def printable(text: str) -> str:
    """Return `text` with "?" for each character that could end a line or steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def without(secrets: Iterable[str], text: str) -> str:
    """Return the text with each secret masked, also where it is part of a URL, a form or JSON."""
    wanted = {
        spelling
        for secret in secrets
        if len(secret) >= _SHORTEST_MASKED
        # What is no text was never sent.
        for spelling in (secret, secret.encode(errors="replace").decode())
    }
    return _masked(text, places_of(wanted, text)) if wanted else text


def _masked(text: str, places: Iterable[tuple[int, int]]) -> str:
    """Return the text with these places masked; those that overlap are one."""
    shown = []
    end = 0
    for start, stop in sorted(places):
        if start >= end:
            shown += [text[end:start], MASK]
        end = max(end, stop)
    return "".join([*shown, text[end:]])


def without_url_secrets(text: str) -> str:
    """Return the text with user names and queries of all URLs masked: a signed URL is a key."""
    beginning, *rest = text.split("://")
    return "://".join([beginning, *map(_public_part, rest)])


def _public_part(url_without_scheme: str) -> str:
    """Return what follows `://` without the URL's secrets."""
    text = url_without_scheme
    # Matched at the start alone: a search would begin anew at each character.
    if user := _URL_USER.match(text):
        text = f"{MASK}@{text[user.end() :]}"
    if query := _URL_QUERY.match(text):
        text = f"{query[1]}{MASK}{text[query.end() :]}"
    return text


def is_secret_name(name: str) -> bool:
    """Return whether a variable of this name holds a secret, whatever its value."""
    return any(word in name.upper() for word in _SECRET_WORDS)


def shown_value(name: str, value: str) -> str:
    """Return the value for a log line: masked for a secret name, without a proxy's user."""
    if is_secret_name(name):
        return MASK
    return _without_user(value)


def shown_argument(argument: str) -> str:
    """Return a plugstack argument for a log line."""
    name, separator, value = argument.partition("=")
    return f"{name}={shown_value(name, value)}" if separator else argument


def _without_user(value: str) -> str:
    _, at, host = value.rpartition("@")
    scheme = _SCHEME.match(value)
    return f"{scheme[0] if scheme else ''}{MASK}@{host}" if at else value


def error_place(error: BaseException) -> str:
    """Return type and place of an unexpected error; its text may hold a secret."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown place"
    return f"{type(error).__name__} at {place}"


class Redactor:
    """Replaces known secrets in text, wherever they came from; and control characters."""

    def __init__(self) -> None:
        self._secrets: frozenset[str] = frozenset()
        self._adding = threading.Lock()

    def add(self, values: Iterable[str]) -> None:
        """Remember values that must never be shown; other threads may add some, or clear text."""
        with self._adding:
            self._secrets = self._secrets.union(values)

    def add_variables(self, variables: Iterable[tuple[str, str]]) -> None:
        """Remember the values of those variables whose names say that they are secret."""
        self.add(value for name, value in variables if is_secret_name(name))

    @property
    def secrets(self) -> frozenset[str]:
        """Every remembered secret."""
        return self._secrets

    def clear(self, text: str) -> str:
        """Return the text as one printable line without any remembered secret."""
        return printable(without_url_secrets(without(self._secrets, text)))
