# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding words in a text that may spell them as URLs, forms or JSON do.

A text is read as it stands, and with its escapes undone: whoever wrote it chose which characters to
escape, and how. All takes time in proportion to the text's length.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

_Pieces = Iterable[tuple[str, int]]
"""Characters, and how long the spelling of each is."""

_MOST_READINGS_DEEP = 2
"""JSON may hold a URL, and a URL another one."""

_BYTES = r"(?:%[0-9A-Fa-f]{2})+"
_JSON = (
    r"\\(?:u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}"
    r'|["\\/bfnrt])'
)
_OF_JSON = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def places_of(words: Iterable[str], text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each place at which the text spells one of the words."""
    words = tuple(words)
    for reading in _readings(_Reading(text), _MOST_READINGS_DEEP):
        for word in words:
            start = reading.text.find(word)
            while start >= 0:
                end = start + len(word)
                yield reading.origin(start), reading.origin(end)
                start = reading.text.find(word, end)


class _Reading:
    """A text as one may read another one, and where in that each of its characters stands.

    `starts` are those of its pieces, `origins` where they begin in the other text.
    """

    def __init__(
        self,
        text: str,
        other: "_Reading | None" = None,
        starts: Sequence[int] = (0,),
        origins: Sequence[int] = (0,),
    ) -> None:
        self.text = text
        self._other = other
        self._starts = starts
        self._origins = origins

    def origin(self, position: int) -> int:
        """Return where in the very first text a position is."""
        if self._other is None:
            return position
        piece = bisect_right(self._starts, position) - 1
        return self._other.origin(self._origins[piece] + position - self._starts[piece])


def _readings(reading: _Reading, depth: int) -> Iterator[_Reading]:
    yield reading
    if depth == 0:
        return
    for mark, escapes, pieces_of in _WAYS:
        if mark in reading.text and (plain := _unescaped(reading, escapes, pieces_of)):
            yield from _readings(plain, depth - 1)


def _unescaped(
    reading: _Reading, escapes: str, pieces_of: Callable[[str], _Pieces]
) -> _Reading | None:
    """Return the reading without these escapes; nothing if it has none."""
    parts: list[str] = []
    starts, origins = [0], [0]
    length = end = 0
    # Compiled by the first text that needs it: a worker whose texts need none starts faster.
    for match in re.finditer(escapes, reading.text):
        parts.append(reading.text[end : match.start()])
        length += len(parts[-1])
        end = match.start()
        for character, width in pieces_of(match[0]):
            starts.append(length)
            origins.append(end)
            parts.append(character)
            length += 1
            end += width
        starts.append(length)
        origins.append(end)
    if not parts:
        return None
    return _Reading("".join([*parts, reading.text[end:]]), reading, starts, origins)


def _of_url(escaped: str) -> _Pieces:
    """Return the characters of bytes in hexadecimal digits."""
    text = bytes.fromhex(escaped.replace("%", "")).decode("utf-8", "surrogateescape")
    for character in text:
        yield character, 3 * len(character.encode("utf-8", "surrogateescape"))


def _of_form(escaped: str) -> _Pieces:
    return [(" ", 1)] if escaped == "+" else _of_url(escaped)


def _of_json(escaped: str) -> _Pieces:
    kind = escaped[1]
    if kind != "u":
        character = _OF_JSON.get(kind, kind)
    else:
        # Not by a codec: it would be read now, by a process that may no longer be able to.
        first, *second = (int(half, 16) for half in escaped[2:].split("\\u"))
        code = 0x10000 + (first - 0xD800 << 10) + second[0] - 0xDC00 if second else first
        character = chr(code)
    return [(character, len(escaped))]


_WAYS: Sequence[tuple[str, str, Callable[[str], _Pieces]]] = (
    ("%", _BYTES, _of_url),
    ("+", rf"\+|{_BYTES}", _of_form),
    ("\\", _JSON, _of_json),
)
