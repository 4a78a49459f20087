# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments that plugstack.conf gives to spank_qrmi.so.

The configuration path comes first, options follow. The plugin applies `--on-failure`, the two
timeouts and `--worker-server` itself (plugin/spank_qrmi.pyx): they must hold before there is a
worker, or for one that cannot answer. Here they are only checked, and `--on-failure` is known for
what the user is told. It reads some besides: `--state-dir` in an epilog, by `--env:` and
`--env-file` which variables an answer may set, and at submission `--catalog` and `--require`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from spank_qrmi.configuration import common_plugstack as common
from spank_qrmi.configuration.slurm_files import plugstack_of_node, read_plugstack
from spank_qrmi.errors import ArgumentError

LIBRARY = "spank_qrmi.so"

DEFAULT_ACQUIRE_SECONDS = 120
DEFAULT_RELEASE_SECONDS = 20
"""What the plugin takes without `--acquire-timeout` and `--release-timeout`."""


class LicenseCheck(str, Enum):
    """What becomes of a QPU whose licence the job does not hold."""

    OFF = "off"
    WARN = "warn"
    REQUIRE = "require"


@dataclass(frozen=True)
class PluginArguments(common.CommonArguments):
    """What the administrator decided in plugstack.conf."""

    config_path: str
    fails_on_failure: bool = True
    requires_all: bool = False
    allows_user_endpoints: bool = True
    license_check: LicenseCheck = LicenseCheck.OFF
    most_held: int | None = None
    acquisitions_per_minute: int | None = None
    catalog_directory: str | None = None


CATALOG = common.Argument("--catalog", "DIR", "catalog_directory", common.parse_absolute_path)
"""Where the monitor publishes what it knows: commands look there at submission, and users do."""

OPTIONS = (
    common.Argument(
        "--on-failure",
        "fail|continue",
        "fails_on_failure",
        common.parse_one_of({"fail": True, "continue": False}),
    ),
    common.Argument(
        "--require", "any|all", "requires_all", common.parse_one_of({"all": True, "any": False})
    ),
    common.Argument(
        "--user-endpoints",
        "deny|allow",
        "allows_user_endpoints",
        common.parse_one_of({"deny": False, "allow": True}),
    ),
    common.Argument(
        "--license-check",
        "|".join(LicenseCheck),
        "license_check",
        common.parse_one_of({each.value: each for each in LicenseCheck}),
    ),
    common.Argument("--most-held-per-user", "N", "most_held", common.parse_count),
    common.Argument(
        "--acquisitions-per-minute", "N", "acquisitions_per_minute", common.parse_count
    ),
    CATALOG,
    common.Argument("--acquire-timeout", "SECONDS", None, common.parse_seconds),
    common.Argument("--release-timeout", "SECONDS", None, common.parse_seconds),
    common.Argument(
        "--usage",
        "file|admincomment|both|none",
        "usage_targets",
        common.parse_one_of(
            {
                **{each.value: frozenset({each}) for each in common.UsageTarget},
                "both": frozenset(common.UsageTarget),
                "none": frozenset(),
            }
        ),
    ),
    common.Argument("--usage-file", "PATH", "usage_path", common.parse_absolute_path),
    *common.COMMON,
)


def parse_arguments(arguments: Sequence[str]) -> PluginArguments:
    """Return the checked arguments; raise ArgumentError naming the one that cannot be used."""
    with common.name_line_of(LIBRARY):
        if not has_configuration(arguments):
            raise ArgumentError("the path of qrmi_config.json must be the first argument")
        config_path = common.parse_absolute_path("the first argument", arguments[0])
        node_variables, values = common.parse_options(arguments[1:], OPTIONS)
        return PluginArguments(config_path, node_variables=node_variables, **values)  # type: ignore[arg-type]


def find_arguments(plugstack: Path | None = None) -> common.CommonArguments:
    """Return what plugstack.conf, or this file, says of the plugin on this node.

    Of several lines the first with the configuration counts, as for the plugin; where there is no
    line, the defaults do. Raises ArgumentError, and ConfigError for a file that cannot be read.
    """
    arguments = _arguments_of_line(plugstack)
    return common.CommonArguments() if arguments is None else parse_arguments(arguments)


def find_catalog() -> str | None:
    """Return the folder that plugstack.conf names by `--catalog=`, None if it names none.

    On login nodes the line may have no other argument. Raises ArgumentError, ConfigError.
    """
    start = f"{CATALOG.name}="
    arguments = _arguments_of_line(None) or ()
    folders = [each.removeprefix(start) for each in arguments if each.startswith(start)]
    with common.name_line_of(LIBRARY):
        return common.parse_absolute_path(CATALOG.name, folders[-1]) if folders else None


def _arguments_of_line(plugstack: Path | None) -> Sequence[str] | None:
    """Return the arguments of the line that counts, None if no line loads the plugin."""
    path = plugstack_of_node(plugstack)
    lines = read_plugstack(path) if path else []
    arguments = [line.arguments for line in lines if line.library == LIBRARY]
    return next(filter(has_configuration, arguments), arguments[0] if arguments else None)


def has_configuration(arguments: Sequence[str]) -> bool:
    """Return whether a line says where qrmi_config.json is."""
    return bool(arguments) and not arguments[0].startswith("--")
