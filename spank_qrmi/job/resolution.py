# SPDX-License-Identifier: GPL-3.0-or-later
"""From the text of `--qpu` to resources."""

from collections.abc import Sequence
from dataclasses import dataclass

from spank_qrmi.configuration.qrmi_config import Config, Resource
from spank_qrmi.configuration.secret_files import read_secrets
from spank_qrmi.errors import ConfigError, ResolutionError
from spank_qrmi.trust.files import warn_or_refuse

MAX_SHOWN_NAMES = 8
MAX_SHOWN_NAME_LENGTH = 40


@dataclass(frozen=True)
class Resolution:
    """What `--qpu` stands for: resources in the order given, and (name, reason) for the rest."""

    resources: tuple[Resource, ...]
    rejected: tuple[tuple[str, ResolutionError], ...]


def split_names(qpu_option: str) -> tuple[str, ...]:
    """Return the names of a comma separated list, each once, as plugin/name_list.pxd reads it."""
    names = (name.strip(" ") for name in qpu_option.split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def shown_names(names: Sequence[str], separator: str = ", ") -> str:
    """Return names as one line has them: a user may give 256, of which each is long."""
    shown = separator.join(_shortened(name) for name in names[:MAX_SHOWN_NAMES])
    more = len(names) - MAX_SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def _shortened(name: str) -> str:
    if len(name) <= MAX_SHOWN_NAME_LENGTH:
        return name
    return f"{name[: MAX_SHOWN_NAME_LENGTH - 1]}…"


def resolve_qpus(qpu_option: str, config: Config, *, is_strict: bool = False) -> Resolution:
    """Find the resource of each name, with all its values; reject others with their reasons.

    With `is_strict`, a resource with a secret in a file that others can read is rejected too.
    """
    resources: list[Resource] = []
    rejected: list[tuple[str, ResolutionError]] = []
    for name in split_names(qpu_option):
        try:
            resources.append(_usable_resource(name, config, is_strict=is_strict))
        except ResolutionError as error:
            rejected.append((name, error))
    return Resolution(tuple(resources), tuple(rejected))


def _usable_resource(name: str, config: Config, *, is_strict: bool) -> Resource:
    try:
        problem = config.problem_with(name)
        if problem is not None:
            raise problem
        if name not in config.resources:
            raise ResolutionError(_unknown_text(config))
        resource, exposures = read_secrets(config.resources[name], config.path)
        warn_or_refuse(exposures, is_strict=is_strict)
    except ConfigError as error:
        raise ResolutionError(f"its definition cannot be used: {error}") from error
    return resource


def _unknown_text(config: Config) -> str:
    shown = shown_names(list(config.resources)) or "none"
    return f"not defined in {config.path} on this node; defined there: {shown}"
