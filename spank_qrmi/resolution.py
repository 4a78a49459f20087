# SPDX-License-Identifier: GPL-3.0-or-later
"""From the text of `--qpu` to resources."""

from dataclasses import dataclass

from spank_qrmi.config import Config, Resource
from spank_qrmi.errors import ResolutionError

MAX_SHOWN_NAMES = 8


@dataclass(frozen=True)
class Resolution:
    """What `--qpu` stands for: resources in the order given, and (name, reason) for the rest."""

    resources: tuple[Resource, ...]
    rejected: tuple[tuple[str, ResolutionError], ...]


def split_names(qpu_option: str) -> tuple[str, ...]:
    """Return the names of a comma separated list, each once, as plugin/name_list.pxd reads it."""
    names = (name.strip(" ") for name in qpu_option.split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def resolve_qpus(qpu_option: str, config: Config) -> Resolution:
    """Find the resource of each name; an unknown or unusable one is rejected with its reason."""
    resources: list[Resource] = []
    rejected: list[tuple[str, ResolutionError]] = []
    for name in split_names(qpu_option):
        resource = config.resources.get(name)
        problem = config.problem_with(name)
        if resource is not None:
            resources.append(resource)
        elif problem is not None:
            rejected.append((name, ResolutionError(f"its definition cannot be used: {problem}")))
        else:
            rejected.append((name, ResolutionError(_unknown_text(config))))
    return Resolution(tuple(resources), tuple(rejected))


def _unknown_text(config: Config) -> str:
    known = list(config.resources)
    shown = ", ".join(known[:MAX_SHOWN_NAMES]) or "none"
    more = f" and {len(known) - MAX_SHOWN_NAMES} more" if len(known) > MAX_SHOWN_NAMES else ""
    return f"not defined in {config.path} on this node; defined there: {shown}{more}"
