# SPDX-License-Identifier: GPL-3.0-or-later
"""`typing`, as far as modules need it that a job waits for: it takes 2 ms to import.

To type checkers these are the standard library's; at run time they say nothing.
"""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any, ClassVar, NoReturn, Protocol, TypeVar, cast
else:

    class _Anything:
        def __class_getitem__(cls, _kind):
            return cls

    Any = ClassVar = NoReturn = _Anything
    Protocol = object

    def TypeVar(_name):  # noqa: N802 (its name)
        """Return what stands for any type."""
        return _Anything

    def cast(_kind, value):
        """Return the value."""
        return value


__all__ = ["TYPE_CHECKING", "Any", "ClassVar", "NoReturn", "Protocol", "TypeVar", "cast"]
