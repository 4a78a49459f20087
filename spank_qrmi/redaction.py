# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not be seen in a log: which variables are secret, and how text is cleared of them."""

import re
from collections.abc import Iterable

MASK = "****"

_SECRET_WORDS = ("KEY", "SECRET", "TOKEN", "PASSWORD", "CRN", "SESSION_ID")

# RFC 3986, 3.1, as plugin/masking.pxd has it: a password may hold "://" too.
_SCHEME = re.compile(r"[A-Za-z0-9+.-]*://")

_SHORTEST_MASKED = 6
"""Shorter values occur in ordinary words: masking "a" everywhere would only hide the message."""


def printable(text: str) -> str:
    """Return `text` with "?" for each character that could end a line or steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def without(secrets: Iterable[str], text: str) -> str:
    """Return the text with each secret masked."""
    # Longest first: a secret may contain another.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_MASKED:
            text = text.replace(secret, MASK)
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
        self._secrets: set[str] = set()

    def add(self, values: Iterable[str]) -> None:
        """Remember values that must never be shown."""
        self._secrets.update(values)

    def add_variables(self, variables: Iterable[tuple[str, str]]) -> None:
        """Remember the values of those variables whose names say that they are secret."""
        self.add(value for name, value in variables if is_secret_name(name))

    @property
    def secrets(self) -> frozenset[str]:
        """Every remembered secret."""
        return frozenset(self._secrets)

    def clear(self, text: str) -> str:
        """Return the text as one printable line without any remembered secret."""
        return printable(without(self._secrets, text))
