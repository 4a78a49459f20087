# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments that plugstack.conf gives to spank_qrmi.so.

The configuration path comes first, options follow. The plugin applies `--on-failure`, the two
timeouts and `--worker-server` itself (plugin/spank_qrmi.pyx): they must hold before there is a
worker, or for one that cannot answer. Here they are only checked, and `--on-failure` is known for
what the user is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spank_qrmi.configuration.plugstack_options import (
    DEFAULT_STATE_DIRECTORY,
    STRICT_PERMISSIONS,
    Parse,
    absolute_path,
    absolute_path_or_none,
    choice,
    line_of,
    parse_options,
    secret_variables_text,
    timeout_seconds,
    without_flags,
)
from spank_qrmi.errors import ArgumentError
from spank_qrmi.trust.worker_user import DEFAULT_WORKER_USER, WorkerUser, worker_user


@dataclass(frozen=True)
class PluginArguments:
    """What the administrator decided in plugstack.conf; `environment` may hold secrets."""

    config_path: str
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    fails_on_failure: bool = True
    requires_all: bool = False
    state_directory: str = DEFAULT_STATE_DIRECTORY
    is_strict: bool = False
    worker_user: WorkerUser = DEFAULT_WORKER_USER

    @property
    def exposures(self) -> tuple[str, ...]:
        """What to tell of secrets among the arguments."""
        return secret_variables_text(self.environment)


def parse_arguments(arguments: Sequence[str]) -> PluginArguments:
    """Return the checked arguments; raise ArgumentError naming the one that cannot be used."""
    with line_of("spank_qrmi.so"):
        if not arguments or arguments[0].startswith("--"):
            raise ArgumentError("the path of qrmi_config.json must be the first argument")
        config_path = absolute_path("the first argument", arguments[0])
        options = without_flags(arguments[1:], [STRICT_PERMISSIONS])
        environment, values = parse_options(options, _OPTIONS)
        values["is_strict"] = STRICT_PERMISSIONS in arguments
        return PluginArguments(config_path, environment, **values)  # type: ignore[arg-type]


_OPTIONS: Mapping[str, tuple[str | None, Parse]] = {
    "--on-failure": ("fails_on_failure", choice({"fail": True, "continue": False})),
    "--require": ("requires_all", choice({"all": True, "any": False})),
    "--acquire-timeout": (None, timeout_seconds),
    "--release-timeout": (None, timeout_seconds),
    "--worker-server": (None, absolute_path_or_none),
    "--state-dir": ("state_directory", absolute_path),
    "--worker-user": ("worker_user", worker_user),
}
