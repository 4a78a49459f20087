# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments that plugstack.conf gives to spank_qrmi.so.

The configuration path comes first, options follow. The plugin applies `--on-failure` and the two
timeouts itself (plugin/spank_qrmi.pyx), since they must hold for a worker that cannot answer; here
the timeouts are only checked, and `--on-failure` is known for what the user is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spank_qrmi.errors import ArgumentError
from spank_qrmi.plugstack_options import (
    Parse,
    absolute_path,
    choice,
    line_of,
    parse_options,
    timeout_seconds,
)
from spank_qrmi.worker_user import DEFAULT_WORKER_USER, WorkerUser, worker_user

DEFAULT_STATE_DIRECTORY = Path("/var/lib/spank_qrmi")


@dataclass(frozen=True)
class PluginArguments:
    """What the administrator decided in plugstack.conf; `environment` may hold secrets."""

    config_path: Path
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    fails_on_failure: bool = True
    requires_all: bool = False
    state_directory: Path = DEFAULT_STATE_DIRECTORY
    worker_user: WorkerUser = DEFAULT_WORKER_USER


def parse_arguments(arguments: Sequence[str]) -> PluginArguments:
    """Return the checked arguments; raise ArgumentError naming the one that cannot be used."""
    with line_of("spank_qrmi.so"):
        if not arguments or arguments[0].startswith("--"):
            raise ArgumentError("the path of qrmi_config.json must be the first argument")
        config_path = absolute_path("the first argument", arguments[0])
        environment, values = parse_options(arguments[1:], _OPTIONS)
        return PluginArguments(config_path, environment, **values)  # type: ignore[arg-type]


_OPTIONS: Mapping[str, tuple[str | None, Parse]] = {
    "--on-failure": ("fails_on_failure", choice({"fail": True, "continue": False})),
    "--require": ("requires_all", choice({"all": True, "any": False})),
    "--acquire-timeout": (None, timeout_seconds),
    "--release-timeout": (None, timeout_seconds),
    "--state-dir": ("state_directory", absolute_path),
    "--worker-user": ("worker_user", worker_user),
}
