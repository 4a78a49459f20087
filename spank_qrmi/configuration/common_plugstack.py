# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plugins' arguments in plugstack.conf have in common, in form and in meaning.

An argument is a line of a table: `COMMON` for both plugins and the command, and one for each
plugin beside it. No error shows a value of which it is not known that it is no secret.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePath

from spank_qrmi.errors import ArgumentError
from spank_qrmi.numbers_in_text import parse_number
from spank_qrmi.protocol import MAX_VARIABLE_NAME_BYTES
from spank_qrmi.redaction import shown_value
from spank_qrmi.trust.worker_user import DEFAULT_WORKER_USER, parse_worker_user

MAX_TIMEOUT_SECONDS = 86400
MAX_COUNT = 10000

DEFAULT_STATE_DIRECTORY = "/var/lib/spank_qrmi"
"""What the node keeps for itself: the journal, and access tokens."""

DEFAULT_WORKER_SERVER = "/run/spank_qrmi/worker.socket"
"""Where the plugin asks for workers that are ready (plugin/question.pxd)."""

Parse = Callable[[str, str], object]
"""Makes a value of an option's name and text; raises ArgumentError."""


@contextmanager
def name_line_of(library: str) -> Iterator[None]:
    """Let every ArgumentError end with what to do about the line of `library`."""
    try:
        yield
    except ArgumentError as error:
        raise ArgumentError(f"{error}: correct the line of {library} in plugstack.conf") from None


@dataclass(frozen=True)
class Argument:
    """One argument `name=VALUE`, or `name` alone for one whose `shown_value` is empty.

    `shown_value` is what documents say for VALUE; `key` is the attribute that takes the value, None
    if it is only checked, because the plugin itself applies it.
    """

    name: str
    shown_value: str
    key: str | None
    parse: Parse

    @property
    def text(self) -> str:
        """The argument as documents show it."""
        return f"{self.name}={self.shown_value}" if self.shown_value else self.name


class UsageTarget(Enum):
    """What takes a record of each acquisition that is over."""

    FILE = "file"
    ADMIN_COMMENT = "admincomment"


@dataclass(frozen=True)
class CommonArguments:
    """What an administrator may say of either plugin; `node_variables` may hold secrets.

    Those with `names_of_file` are in the file at `variables_path`, not in plugstack.conf.
    `usage_targets` take a record of each acquisition, the file at `usage_path`, None: the usual
    one.
    """

    node_variables: dict[str, str] = field(default_factory=dict, repr=False, kw_only=True)
    names_of_file: frozenset[str] = field(default=frozenset(), kw_only=True)
    variables_path: str | None = field(default=None, kw_only=True)
    state_directory: str = field(default=DEFAULT_STATE_DIRECTORY, kw_only=True)
    is_strict: bool = field(default=False, kw_only=True)
    worker_user: str = field(default=DEFAULT_WORKER_USER, kw_only=True)
    munge_socket: str | None = field(default=None, kw_only=True)
    usage_targets: frozenset[UsageTarget] = field(
        default=frozenset({UsageTarget.FILE}), kw_only=True
    )
    usage_path: str | None = field(default=None, kw_only=True)

    @property
    def exposures(self) -> tuple[str, ...]:
        """What to tell of secrets among the arguments.

        plugstack.conf itself cannot be looked at: an `include` may have led to its line. But it is
        read by the commands of all users, or they would not know the plugins' options.
        """
        names = [
            f"--env:{name}"
            for name, value in self.node_variables.items()
            if value and shown_value(name, value) != value and name not in self.names_of_file
        ]
        text = (
            "a secret in plugstack.conf, which all users' commands read: leave it out there, or "
            f"move a proxy to a file that {VARIABLES_FILE.name} names"
        )
        return (f"{', '.join(names)}: {text}",) if names else ()


def parse_options(
    arguments: Sequence[str], known: Sequence[Argument]
) -> tuple[dict[str, str], dict[str, object]]:
    """Return the variables of all `--env:`, and the other arguments' values by their keys.

    The last one of a name counts. Raises ArgumentError naming what cannot be used.
    """
    node_variables: dict[str, str] = {}
    values: dict[str, object] = {}
    by_name = {each.name: each for each in known}
    for argument in arguments:
        if argument.startswith("--env:"):
            node_variables.update([_node_variable(argument)])
            continue
        name, separator, text = argument.partition("=")
        found = by_name.get(name)
        if found is None or bool(separator) != bool(found.shown_value):
            raise ArgumentError(f"argument {_shown(argument)!r} is not known")
        value = found.parse(name, text)
        if found.key is not None:
            values[found.key] = value
    return node_variables, values


def last_value(arguments: Sequence[str], name: str) -> str | None:
    """Return the value that counts of an argument; None if it is not given."""
    values = [
        text
        for each, sign, text in (word.partition("=") for word in arguments)
        if sign and each == name
    ]
    return values[-1] if values else None


def parse_absolute_path(option: str, text: str) -> str:
    """Read a path that starts with a slash."""
    path = PurePath(text)
    if not path.is_absolute():
        raise ArgumentError(f"{option} must be an absolute path, got {text!r}")
    return str(path)


def parse_absolute_path_or_none(option: str, text: str) -> str:
    """Read a path that starts with a slash, or the word for doing without."""
    return text if text == "none" else parse_absolute_path(option, text)


def parse_seconds(option: str, text: str) -> int:
    """Read a number of seconds from 1 to MAX_TIMEOUT_SECONDS."""
    seconds = parse_number(text, MAX_TIMEOUT_SECONDS)
    if not seconds:
        raise ArgumentError(
            f"{option} must be a whole number of seconds from 1 to {MAX_TIMEOUT_SECONDS}, "
            f"got {text!r}"
        )
    return seconds


def parse_count(option: str, text: str) -> int:
    """Read a number from 1 to MAX_COUNT."""
    count = parse_number(text, MAX_COUNT)
    if not count:
        raise ArgumentError(f"{option} must be a whole number from 1 to {MAX_COUNT}, got {text!r}")
    return count


def parse_flag(_option: str, _text: str) -> bool:
    """Read an argument that has no value."""
    return True


def parse_one_of(choices: Mapping[str, object]) -> Parse:
    """Return what reads one of these words."""

    def parse(option: str, text: str) -> object:
        if text not in choices:
            raise ArgumentError(f"{option} must be {' or '.join(choices)}, got {text!r}")
        return choices[text]

    return parse


def _node_variable(argument: str) -> tuple[str, str]:
    name, separator, value = argument.removeprefix("--env:").partition("=")
    is_too_long = len(name.encode("utf-8", "surrogateescape")) > MAX_VARIABLE_NAME_BYTES
    if not separator or not name or not name.isprintable() or " " in name or is_too_long:
        raise ArgumentError(f"argument {_shown(argument)!r} must be --env:NAME=VALUE")
    return name, value


def _shown(argument: str) -> str:
    """Return an argument without its value, which may be a secret."""
    name, separator, _ = argument.partition("=")
    return f"{name}=…" if separator else name


STATE_DIRECTORY = Argument("--state-dir", "DIR", "state_directory", parse_absolute_path)
WORKER_USER = Argument("--worker-user", "NAME|UID", "worker_user", parse_worker_user)
WORKER_SERVER = Argument("--worker-server", "SOCKET|none", None, parse_absolute_path_or_none)
STRICT_PERMISSIONS = Argument("--strict-permissions", "", "is_strict", parse_flag)
"""Refuses secrets that others can read, of which the log only warns without it."""

VARIABLES_FILE = Argument("--env-file", "PATH", "variables_path", parse_absolute_path)
"""Has proxies, with their passwords, which would be seen by everybody in plugstack.conf."""

MUNGE_SOCKET = Argument("--munge-socket", "PATH", "munge_socket", parse_absolute_path)
"""Where munged makes credentials, if not where munge(1) asks by itself."""

COMMON = (
    *(STATE_DIRECTORY, WORKER_SERVER, STRICT_PERMISSIONS, WORKER_USER, VARIABLES_FILE),
    MUNGE_SOCKET,
)
"""The arguments of both plugins."""
