# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls come to, for tests that claim the same of many inputs."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

WRITABLE = (
    "must be writable by its owner alone: remove what others may have put in it, then chmod go-w"
)
"""How root's files are refused that others could have written; behind it stands the path."""


def outcome_of(call: Callable[..., object], *arguments: object) -> object:
    try:
        return call(*arguments)
    except Exception as error:  # noqa: BLE001 (the test tells of which input it is)
        return error


def refusal_of(
    kind: type[Exception], call: Callable[..., object], *arguments: object
) -> str | None:
    """Return why a call refuses what it is given by this kind of error, None if it takes it."""
    try:
        call(*arguments)
    except kind as error:
        return str(error)
    return None


def said_by(program: str, *arguments: str) -> tuple[str, str]:
    """Return what a program in Python writes to stdout and to stderr."""
    command = [sys.executable, "-I", "-c", program, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.stdout, ended.stderr


@contextmanager
def trying(what: object) -> Iterator[None]:
    """Name the input in whatever fails with it."""
    try:
        yield
    except (Exception, pytest.fail.Exception) as error:
        raise AssertionError(f"with {what!r}"[:300]) from error
