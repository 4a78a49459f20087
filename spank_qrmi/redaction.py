# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not be seen in a log: which variables are secret, and how text is cleared of them.

A secret is found as it stands, and where a URL, a form or JSON spells it: the text is read with its
escapes undone, since whoever wrote it chose which characters to escape, and how. All takes time in
proportion to the text's length.
"""

import json
import re
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence

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
    return _without_words(_words_of(secrets), text)


def _words_of(secrets: Iterable[str]) -> frozenset[str]:
    """Return what is looked for in a text, which may have been read with its escapes undone."""
    return frozenset(
        word
        for secret in secrets
        if len(secret) >= _SHORTEST_MASKED
        # What is no text was never sent.
        for word in (secret, secret.encode(errors="replace").decode())
    )


def _without_words(words: frozenset[str], text: str) -> str:
    return _mask(text, _places_of(words, text)) if words else text


def is_told_by(text: str, secrets: Iterable[str]) -> bool:
    """Return whether a text is one of the secrets, or has one in it, however it is spelled."""
    secrets = tuple(secrets)
    return text in secrets or without(secrets, text) != text


def _mask(text: str, places: Iterable[tuple[int, int]]) -> str:
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
    _, at, host = value.rpartition("@")
    scheme = _SCHEME.match(value)
    return f"{scheme[0] if scheme else ''}{MASK}@{host}" if at else value


def shown_argument(argument: str) -> str:
    """Return a plugstack argument for a log line."""
    name, separator, value = argument.partition("=")
    return f"{name}={shown_value(name, value)}" if separator else argument


def error_place(error: BaseException) -> str:
    """Return type and place of an unexpected error; its text may hold a secret."""
    place = "unknown place"
    for frame, line in traceback.walk_tb(error.__traceback__):
        place = f"{frame.f_code.co_filename}:{line}"
    return f"{type(error).__name__} at {place}"


class Redactor:
    """Replaces known secrets in text, wherever they came from; and control characters."""

    def __init__(self) -> None:
        self.secrets: frozenset[str] = frozenset()
        # A user may bring many secrets, and have many lines cleared of them.
        self._words: frozenset[str] = frozenset()
        self._adding = threading.Lock()

    def add(self, values: Iterable[str]) -> None:
        """Remember values that must never be shown; other threads may add some, or clear text."""
        values = tuple(values)
        with self._adding:
            # Blanks around a value do not count: it is used without them.
            added = {*values, *(value.strip() for value in values)} - self.secrets
            self.secrets |= added
            self._words |= _words_of(added)

    def add_variables(self, variables: Iterable[tuple[str, str]]) -> None:
        """Remember the values of those variables whose names say that they are secret."""
        self.add(value for name, value in variables if is_secret_name(name))

    def clear(self, text: str) -> str:
        """Return the text as one printable line without any remembered secret."""
        return printable(without_url_secrets(_without_words(self._words, text)))


_Pieces = Iterable[tuple[str, int]]
"""Characters, and how long the spelling of each is."""

_MOST_READINGS_DEEP = 2
"""JSON may hold a URL, and a URL another one."""

_BYTES = r"(?:%[0-9A-Fa-f]{2})+"
_JSON = (
    r"\\(?:u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}"
    r'|["\\/bfnrt])'
)


def _places_of(words: frozenset[str], text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each place at which the text spells one of the words."""
    for reading, origins in _readings(text, range(len(text) + 1), _MOST_READINGS_DEEP):
        for word in words:
            start = reading.find(word)
            while start >= 0:
                end = start + len(word)
                yield origins[start], origins[end]
                start = reading.find(word, end)


def _readings(text: str, origins: Sequence[int], depth: int) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield what a text may be read as, each with where its characters stand in the very first."""
    yield text, origins
    if depth == 0:
        return
    for mark, escapes, pieces_of in _WAYS:
        if mark in text:
            plain, its_origins = _unescape(text, origins, escapes, pieces_of)
            if plain != text:
                yield from _readings(plain, its_origins, depth - 1)


def _unescape(
    text: str,
    origins: Sequence[int],
    escapes: re.Pattern[str],
    pieces_of: Callable[[str], _Pieces],
) -> tuple[str, list[int]]:
    parts: list[str] = []
    its_origins: list[int] = []
    end = 0
    for match in escapes.finditer(text):
        parts.append(text[end : match.start()])
        its_origins += origins[end : match.start()]
        end = match.start()
        for character, width in pieces_of(match[0]):
            parts.append(character)
            its_origins.append(origins[end])
            end += width
    return "".join([*parts, text[end:]]), [*its_origins, *origins[end:]]


def _of_url(escaped: str) -> _Pieces:
    """Return the characters of bytes in hexadecimal digits."""
    text = bytes.fromhex(escaped.replace("%", "")).decode("utf-8", "surrogateescape")
    for character in text:
        yield character, 3 * len(character.encode("utf-8", "surrogateescape"))


def _of_form(escaped: str) -> _Pieces:
    return [(" ", 1)] if escaped == "+" else _of_url(escaped)


def _of_json(escaped: str) -> _Pieces:
    # Not by orjson, which refuses half of a pair.
    return [(json.loads(f'"{escaped}"'), len(escaped))]


_WAYS: Sequence[tuple[str, re.Pattern[str], Callable[[str], _Pieces]]] = (
    ("%", re.compile(_BYTES), _of_url),
    ("+", re.compile(rf"\+|{_BYTES}"), _of_form),
    ("\\", re.compile(_JSON), _of_json),
)
