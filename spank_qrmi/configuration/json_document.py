# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the JSON of an administrator's file, with errors that he can act on."""

from spank_qrmi import strict_json
from spank_qrmi.errors import ConfigError
from spank_qrmi.trust.files import StrPath


def parse_document(path: StrPath, content: bytes) -> object:
    """Return what the content of the file at `path` says; raise ConfigError with its place."""
    try:
        return strict_json.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except strict_json.JSONDecodeError as error:
        message = f"{path}: is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        raise ConfigError(message) from None


def json_type(value: object) -> str:
    """Return how JSON calls the type of a value, with an article."""
    names = {type(None): "null", bool: "a boolean", list: "an array", dict: "an object"}
    return names.get(type(value), "a string" if isinstance(value, str) else "a number")
