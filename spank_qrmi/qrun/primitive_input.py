# SPDX-License-Identifier: GPL-3.0-or-later
"""The primitive input (PUBs) that a user gives to `qrun`: read and checked, sent as it is."""

import os
from pathlib import Path
from typing import BinaryIO

import orjson

from spank_qrmi.qrun.outcome import ExitStatus, QrunError

STANDARD_INPUT = "-"
LARGEST_INPUT_BYTES = 512 * 1024 * 1024

_STANDARD_INPUT_DESCRIPTOR = 0
_VERSION = 2


def read_primitive_input(path: str) -> bytes:
    """Return the bytes of a primitive input; `-` is standard input.

    It is a JSON object with `version` 2 and a list `pubs` with an array in each place (IBM
    Quantum's schema of sampler and estimator inputs). Raises QrunError that says what is wrong.
    """
    shown = "standard input" if path == STANDARD_INPUT else path
    content = _read(path, shown)
    if problem := _problem(content):
        raise QrunError(f"{shown} {problem}", ExitStatus.INPUT)
    return content


def _read(path: str, shown: str) -> bytes:
    try:
        with _open(path) as file:
            is_too_large = os.fstat(file.fileno()).st_size > LARGEST_INPUT_BYTES
            # One byte more shows that the limit is passed; a device may never end.
            content = b"" if is_too_large else file.read(LARGEST_INPUT_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no file's name"
        raise QrunError(f"{shown} cannot be read: {reason}", ExitStatus.INPUT) from error
    if is_too_large or len(content) > LARGEST_INPUT_BYTES:
        raise QrunError(
            f"{shown} is larger than {LARGEST_INPUT_BYTES // 1024**2} MiB", ExitStatus.INPUT
        )
    return content


def _open(path: str) -> BinaryIO:
    if path == STANDARD_INPUT:
        return open(_STANDARD_INPUT_DESCRIPTOR, "rb", closefd=False)
    return Path(path).open("rb")


def _problem(content: bytes) -> str:
    """Return what keeps the bytes from being a primitive input, or an empty string."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        return f"is not JSON (line {error.lineno}, column {error.colno})"
    if not isinstance(document, dict):
        return "must be a JSON object with pubs and version"
    version = document.get("version")
    if isinstance(version, bool) or version != _VERSION:
        return f"must have version {_VERSION}"
    return _pubs_problem(document.get("pubs"))


def _pubs_problem(pubs: object) -> str:
    if not isinstance(pubs, list):
        return "has no list of pubs"
    if not pubs:
        return "has an empty list of pubs: there is nothing to run"
    for number, pub in enumerate(pubs):
        if not (isinstance(pub, list) and pub):
            return f"has no pub in pubs[{number}]: each is an array that begins with a circuit"
    return ""
