# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the JSON of an administrator's file, with errors that he can act on."""

import json
import re

import orjson

from spank_qrmi.errors import ConfigError
from spank_qrmi.trust.files import StrPath

_CURLY_QUOTE = re.compile("[\u201c\u201d\u201e\u2018\u2019]")

_REPEATED = object()
"""Stands for the value of a member that an object has more than once."""


def parse_document(path: StrPath, content: bytes) -> object:
    """Return what the content of the file at `path` says; raise ConfigError with its place.

    Objects in arrays may have repeated members: see `check_members`.
    """
    try:
        # Some editors begin it with a mark.
        text = content.decode("utf-8-sig")
        # The one is strict about JSON, and only the other tells of members that are repeated.
        orjson.loads(text)
        document = json.loads(text, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        # Its position does not count the mark.
        before = error.object[: error.start].decode()
        fault = json.JSONDecodeError("not UTF-8", before, len(before))
    except json.JSONDecodeError as error:
        fault = error
    except RecursionError:
        raise ConfigError(f"{path}: has too many objects or arrays in one another") from None
    else:
        check_members(f"{path}", document)
        return document
    cause = _cause_of(fault)
    raise ConfigError(
        f"{path}: is not JSON: {cause.msg} at line {cause.lineno} column {cause.colno}; nothing in "
        "it can be used until that is corrected"
    )


def _cause_of(fault: json.JSONDecodeError) -> json.JSONDecodeError:
    """Return the slip that explains a fault, at its own place, or the fault itself."""
    text, position = fault.doc, fault.pos
    if text.startswith(("#", "//", "/*"), position):
        return json.JSONDecodeError("JSON has no comments: take it out", text, position)
    # A parser notices it at the next word, which may stand on the next line.
    line_before = text.rfind("\n", 0, max(0, text.rfind("\n", 0, position)))
    line_end = text.find("\n", position)
    curly = _CURLY_QUOTE.search(text, line_before + 1, len(text) if line_end < 0 else line_end)
    if curly is not None:
        return json.JSONDecodeError('a curly quote: write "', text, curly.start())
    return fault


def check_members(place: str, value: object) -> None:
    """Raise ConfigError if an object, or one below it but in no array, repeats a member."""
    unchecked = [(place, value)]
    while unchecked:
        place, value = unchecked.pop()
        for key, member in value.items() if isinstance(value, dict) else ():
            shown = repr(key[:40])
            if member is _REPEATED:
                raise ConfigError(f"{place}: {shown} stands more than once: keep one")
            unchecked.append((f"{place}: {shown[1:-1]}", member))


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in members:
        found[key] = _REPEATED if key in found else value
    return found


def json_type(value: object) -> str:
    """Return how JSON calls the type of a value, with an article."""
    names = {type(None): "null", bool: "a boolean", list: "an array", dict: "an object"}
    return names.get(type(value), "a string" if isinstance(value, str) else "a number")
