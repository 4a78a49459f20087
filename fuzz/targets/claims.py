# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold of every refusal, whatever was refused."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from spank_qrmi.errors import QrmiError
from spank_qrmi.protocol import MAX_VARIABLE_NAME_BYTES

_Result = TypeVar("_Result")


def is_variable_name(name: str) -> bool:
    """Return whether it is a name that the plugin takes (plugin/message.pxd)."""
    is_short = 0 < len(name.encode("utf-8", "surrogateescape")) <= MAX_VARIABLE_NAME_BYTES
    return is_short and name.isprintable() and not set(name) & set(" =")


def check_line(text: str, secrets: Iterable[str] = ()) -> None:
    """Check that a text is one line that can be shown, without any of the secrets."""
    assert text, "an empty line says nothing"
    assert text.isprintable(), f"not one printable line: {text!r}"
    for secret in secrets:
        assert secret not in text, f"shows a secret: {text!r}"


def result_or_refusal(
    call: Callable[[], _Result],
    refusal: type[QrmiError] | tuple[type[QrmiError], ...] = QrmiError,
    secrets: Iterable[str] = (),
) -> _Result | QrmiError:
    """Return what `call` returns, or the error of this kind that it raises, checked."""
    try:
        return call()
    except refusal as error:
        check_line(str(error), secrets)
        return error
