# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON as RFC 8259 has it, read from hostile bytes, where a job waits for it.

The standard library's reader takes more than JSON: NaN, halves of surrogate pairs, other encodings,
numbers of any length and, on some releases, any depth. What is refused here is what orjson refuses,
whose import takes four times as long as the standard library's.
"""

import json
import math
import re
from json import JSONDecodeError as JSONDecodeError  # noqa: PLC0414 (callers catch it)

MOST_DEPTH = 500

# A string that does not end is taken as one, too: searched again from each quote in it, one of a
# mebibyte would take most of an hour. Compiled by the few who need it.
_BRACKET_OR_STRING = rb'(?s:[\[{]|[\]}]|"[^"\\]*(?:\\.[^"\\]*)*"?)'
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_OPENING = frozenset((b"[", b"{"))
_CLOSING = frozenset((b"]", b"}"))

_LARGEST = 2**64
_SMALLEST = -(2**63)
_DIGITS = len(str(_LARGEST))


def loads(content: bytes) -> object:
    """Return the value that UTF-8 text stands for; raise JSONDecodeError with place and reason.

    Whole numbers of more than 64 bits become float.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        raise JSONDecodeError("not UTF-8", before, len(before)) from None
    _check_depth(content, text)
    try:
        value = _DECODER.decode(text)
    except JSONDecodeError:
        raise
    except ValueError as error:
        raise JSONDecodeError(str(error), text, 0) from None
    if _SURROGATE.search(content):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise JSONDecodeError("half of a surrogate pair", text, 0) from None
    return value


def dumps(value: object) -> bytes:
    """Return the shortest UTF-8 text of a value; raise ValueError for what JSON cannot say."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _check_depth(content: bytes, text: str) -> None:
    """Raise JSONDecodeError for what would use up the stack."""
    if content.count(b"[") + content.count(b"{") <= MOST_DEPTH:
        return
    depth = 0
    for found in re.finditer(_BRACKET_OR_STRING, content):
        if found[0] in _OPENING:
            depth += 1
        elif found[0] in _CLOSING:
            depth -= 1
        if depth > MOST_DEPTH:
            raise JSONDecodeError("nested too deeply", text, len(content[: found.start()].decode()))


def _whole_number(digits: str) -> int | float:
    value = int(digits) if len(digits) <= _DIGITS else _LARGEST
    return value if _SMALLEST <= value < _LARGEST else _real_number(digits)


def _real_number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("number out of range")
    return value


def _refuse_constant(word: str) -> object:
    message = f"{word} is no JSON"
    raise ValueError(message)


_DECODER = json.JSONDecoder(
    parse_int=_whole_number, parse_float=_real_number, parse_constant=_refuse_constant
)
