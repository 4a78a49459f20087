# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments that plugstack.conf gives to spank_ibm_qrun.so.

Eight values without a name, or `--credentials`, and options. The plugin applies `--always`,
`--cleanup-timeout` and `--worker-server` itself; here they are only checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from spank_qrmi.configuration.plugstack_options import (
    DEFAULT_STATE_DIRECTORY,
    STRICT_PERMISSIONS,
    Parse,
    absolute_path,
    absolute_path_or_none,
    line_of,
    parse_options,
    secret_variables_text,
    timeout_seconds,
    without_flags,
)
from spank_qrmi.errors import ArgumentError
from spank_qrmi.qrun import variables as names
from spank_qrmi.trust.worker_user import DEFAULT_WORKER_USER, WorkerUser, worker_user

_ALWAYS = "--always"
_CREDENTIALS = "--credentials"
_CREDENTIALS_EXPOSED = (
    "plugstack.conf holds credentials, and all users' commands read it: move them to a file with "
    f"mode 0600 and name that by {_CREDENTIALS}=FILE"
)
_STATE_DIRECTORY = "--state-dir"
_WORKER_USER = "--worker-user"
_IAM_OPTIONS = {
    names.IAM_APIKEY: "--iam-apikey",
    names.SERVICE_CRN: "--service-crn",
    names.IAM_ENDPOINT: "--iam-endpoint",
}


@dataclass(frozen=True)
class QrunArguments:
    """What the administrator decided in plugstack.conf.

    `values` are `IBMQRUN_*` variables, empty if they are in the file `credentials_path` instead;
    `environment` are those of `--env:`. Both hold secrets. Below `state_directory` are the node's
    access tokens.
    """

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    credentials_path: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_strict: bool = False
    worker_user: WorkerUser = DEFAULT_WORKER_USER
    state_directory: str = DEFAULT_STATE_DIRECTORY

    @property
    def exposures(self) -> tuple[str, ...]:
        """What to tell of secrets among the arguments."""
        variables = secret_variables_text(self.environment)
        return (_CREDENTIALS_EXPOSED, *variables) if self.values else variables


def parse_arguments(arguments: Sequence[str]) -> QrunArguments:
    """Return the checked arguments; raise ArgumentError that says what is needed."""
    with line_of("spank_ibm_qrun.so"):
        positional = [each for each in arguments if not each.startswith("--")]
        options = [each for each in arguments if each.startswith("--")]
        options = without_flags(options, [_ALWAYS, STRICT_PERMISSIONS])
        is_strict = STRICT_PERMISSIONS in arguments
        environment, values = parse_options(options, _OPTIONS)
        path = values.pop(_CREDENTIALS, None)
        user = cast("WorkerUser", values.pop(_WORKER_USER, DEFAULT_WORKER_USER))
        state = cast("str", values.pop(_STATE_DIRECTORY, DEFAULT_STATE_DIRECTORY))
        iam_values = {name: str(value) for name, value in values.items()}
        _check_iam(iam_values)
        if isinstance(path, str):
            _check_file_is_all(positional, iam_values)
            return QrunArguments({}, path, environment, is_strict, user, state)
        _check_count(positional)
        site_values = dict(zip(names.SITE_VARIABLES, positional, strict=True))
        return QrunArguments(
            {**site_values, **iam_values}, None, environment, is_strict, user, state
        )


def _check_count(positional: Sequence[str]) -> None:
    wanted = [name.removeprefix("IBMQRUN_") for name in names.SITE_VARIABLES]
    if len(positional) != len(wanted):
        message = (
            f"{len(wanted)} arguments are needed in this order, got {len(positional)}: "
            f"{' '.join(wanted)}; or {_CREDENTIALS}=FILE"
        )
        raise ArgumentError(message)


def _check_iam(iam_values: Mapping[str, str]) -> None:
    missing = [option for name, option in _IAM_OPTIONS.items() if name not in iam_values]
    if iam_values and missing:
        message = f"{', '.join(_IAM_OPTIONS.values())} belong together: add {' and '.join(missing)}"
        raise ArgumentError(message)


def _check_file_is_all(positional: Sequence[str], iam_values: Mapping[str, str]) -> None:
    if positional or iam_values:
        message = (
            f"{_CREDENTIALS} names the file that holds all credentials: give no other arguments "
            f"but {_ALWAYS}, {STRICT_PERMISSIONS}, --cleanup-timeout, --worker-server, "
            f"{_STATE_DIRECTORY}, {_WORKER_USER} and --env: beside it"
        )
        raise ArgumentError(message)


def _text(option: str, text: str) -> str:
    if not text.strip():
        message = f"{option} must not be empty"
        raise ArgumentError(message)
    return text


_OPTIONS: Mapping[str, tuple[str | None, Parse]] = {
    _CREDENTIALS: (_CREDENTIALS, absolute_path),
    "--cleanup-timeout": (None, timeout_seconds),
    "--worker-server": (None, absolute_path_or_none),
    _STATE_DIRECTORY: (_STATE_DIRECTORY, absolute_path),
    _WORKER_USER: (_WORKER_USER, worker_user),
    **{option: (name, _text) for name, option in _IAM_OPTIONS.items()},
}
