# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments that plugstack.conf gives to spank_qrmi.so.

The configuration path comes first, options follow. The plugin applies `--on-failure` and the two
timeouts itself (plugin/spank_qrmi.pyx), since they must hold for a worker that cannot answer; here
the timeouts are only checked, and `--on-failure` is known for what the user is told.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from spank_qrmi.errors import ArgumentError
from spank_qrmi.protocol import MAX_VARIABLE_NAME_BYTES

DEFAULT_STATE_DIRECTORY = Path("/var/lib/spank_qrmi")
MAX_TIMEOUT_SECONDS = 86400

_REMEDY = "correct the line of spank_qrmi.so in plugstack.conf"

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class PluginArguments:
    """What the administrator decided in plugstack.conf; `environment` may hold secrets."""

    config_path: Path
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    fails_on_failure: bool = True
    requires_all: bool = False
    state_directory: Path = DEFAULT_STATE_DIRECTORY


def parse_arguments(arguments: Sequence[str]) -> PluginArguments:
    """Return the checked arguments; raise ArgumentError naming the one that cannot be used."""
    if not arguments or arguments[0].startswith("--"):
        message = f"the path of qrmi_config.json must be the first argument: {_REMEDY}"
        raise ArgumentError(message)
    config_path = _absolute_path("the first argument", arguments[0])
    environment: dict[str, str] = {}
    values: dict[str, object] = {}
    for argument in arguments[1:]:
        if argument.startswith("--env:"):
            environment.update([_environment_variable(argument)])
            continue
        option, separator, text = argument.partition("=")
        if option not in _OPTIONS or not separator:
            message = f"argument {_shown(argument)!r} is not known: {_REMEDY}"
            raise ArgumentError(message)
        field_name, parse = _OPTIONS[option]
        value = parse(option, text)
        if field_name is not None:
            values[field_name] = value
    return PluginArguments(config_path, environment, **values)  # type: ignore[arg-type]


def _environment_variable(argument: str) -> tuple[str, str]:
    name, separator, value = argument.removeprefix("--env:").partition("=")
    is_too_long = len(name.encode("utf-8", "surrogateescape")) > MAX_VARIABLE_NAME_BYTES
    if not separator or not name or not name.isprintable() or " " in name or is_too_long:
        message = f"argument {_shown(argument)!r} must be --env:NAME=VALUE: {_REMEDY}"
        raise ArgumentError(message)
    return name, value


def _shown(argument: str) -> str:
    """Return an argument without its value, which may be a secret."""
    name, separator, _ = argument.partition("=")
    return f"{name}=…" if separator else name


def _absolute_path(option: str, text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        message = f"{option} must be an absolute path, got {text!r}: {_REMEDY}"
        raise ArgumentError(message)
    return path


def _timeout_seconds(option: str, text: str) -> int:
    # Python refuses to read a number of thousands of digits.
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_TIMEOUT_SECONDS))
    if not (is_number and 1 <= int(text) <= MAX_TIMEOUT_SECONDS):
        message = (
            f"{option} must be a whole number of seconds from 1 to {MAX_TIMEOUT_SECONDS}, "
            f"got {text!r}: {_REMEDY}"
        )
        raise ArgumentError(message)
    return int(text)


def _choice(choices: dict[str, _Value]) -> Callable[[str, str], _Value]:
    def parse(option: str, text: str) -> _Value:
        if text not in choices:
            message = f"{option} must be {' or '.join(choices)}, got {text!r}: {_REMEDY}"
            raise ArgumentError(message)
        return choices[text]

    return parse


_OPTIONS: dict[str, tuple[str | None, Callable[[str, str], object]]] = {
    "--on-failure": ("fails_on_failure", _choice({"fail": True, "continue": False})),
    "--require": ("requires_all", _choice({"all": True, "any": False})),
    "--acquire-timeout": (None, _timeout_seconds),
    "--release-timeout": (None, _timeout_seconds),
    "--state-dir": ("state_directory", _absolute_path),
}
