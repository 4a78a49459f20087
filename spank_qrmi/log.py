# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines for the log of whoever listens: a plugin's, a worker's, or a terminal.

The standard library's logging takes 4 ms to import, which a job would wait for.
"""

import contextlib
from collections.abc import Callable, Iterator

Listener = Callable[[str, str], None]
"""Takes the level, one of LEVELS, and the line."""

LEVELS = ("debug", "info", "warning", "error")

_listeners: list[Listener] = []


def debug(text: str, *values: object) -> None:
    """Tell what helps to find a fault; `values` are put into `text` by %."""
    tell("debug", text, *values)


def info(text: str, *values: object) -> None:
    """Tell what an administrator may want to know."""
    tell("info", text, *values)


def warning(text: str, *values: object) -> None:
    """Tell what an administrator should change."""
    tell("warning", text, *values)


def error(text: str, *values: object) -> None:
    """Tell what went wrong."""
    tell("error", text, *values)


def tell(level: str, text: str, *values: object) -> None:
    """Tell a line of this level to all that listen."""
    line = text % values if values else text
    for listener in tuple(_listeners):
        listener(level, line)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have every line told to `listener`, from whatever thread."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
