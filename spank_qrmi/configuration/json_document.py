# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the JSON of an administrator's file, with errors that he can act on."""

import json

import orjson

from spank_qrmi.errors import ConfigError
from spank_qrmi.trust.files import StrPath


def parse_document(path: StrPath, content: bytes) -> object:
    """Return what the content of the file at `path` says; raise ConfigError with its place."""
    try:
        # Some editors begin it with a mark.
        return orjson.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        # Its position does not count the mark.
        before = error.object[: error.start].decode()
        fault = json.JSONDecodeError("not UTF-8", before, len(before))
    except json.JSONDecodeError as error:
        fault = error
    raise ConfigError(
        f"{path}: is not JSON: {fault.msg} at line {fault.lineno} column {fault.colno}"
    )


def json_type(value: object) -> str:
    """Return how JSON calls the type of a value, with an article."""
    names = {type(None): "null", bool: "a boolean", list: "an array", dict: "an object"}
    return names.get(type(value), "a string" if isinstance(value, str) else "a number")
