# SPDX-License-Identifier: GPL-3.0-or-later
"""What one round has seen of all QPUs, and how the process that has seen it tells the monitor."""

from dataclasses import dataclass

import orjson

from spank_qrmi.catalog.license_names import license_name_of
from spank_qrmi.status import QpuState, QpuStatus


@dataclass(frozen=True)
class Observation:
    """One QPU; every text can be shown as it is.

    `types` are all names by which jobs find it, the entry's own first. Its service `has_answered`,
    or the reason in `status` says why not; that took `seconds`. One that is not watched has no
    credentials of the site's: users bring theirs. `uids` and `gids` are who may use it, None each
    where everybody may.
    """

    name: str
    types: tuple[str, ...]
    status: QpuStatus
    has_answered: bool
    is_watched: bool = True
    seconds: float = 0.0
    uids: tuple[int, ...] | None = None
    gids: tuple[int, ...] | None = None

    @property
    def license_name(self) -> str:
        """The licence that stands for it."""
        return license_name_of(self.name)


@dataclass(frozen=True)
class Round:
    """The QPUs of one configuration, or why nothing is known of any: `failure`.

    `problems` are lines for the log.
    """

    observations: tuple[Observation, ...] = ()
    problems: tuple[str, ...] = ()
    failure: str = ""


def round_to_json(seen: Round) -> bytes:
    """Return a round as JSON."""
    return orjson.dumps(seen)


def round_from_json(content: bytes) -> Round:
    """Return what `round_to_json` was given; raise ValueError, KeyError or TypeError for else."""
    document = orjson.loads(content)
    observations = tuple(_observation(each) for each in document["observations"])
    return Round(observations, tuple(document["problems"]), document["failure"])


def status_from(document: dict[str, object]) -> QpuStatus:
    """Return the status that a JSON object of its attributes tells; raise as above."""
    return QpuStatus(**{**document, "state": QpuState(document["state"])})  # type: ignore[arg-type]


def _observation(document: dict[str, object]) -> Observation:
    values: dict[str, object] = dict(document)
    for key in ("types", "uids", "gids"):
        value = values[key]
        values[key] = tuple(value) if isinstance(value, list) else None
    status = values["status"]
    if not isinstance(status, dict):
        raise TypeError("no status")
    return Observation(**{**values, "status": status_from(status)})  # type: ignore[arg-type]
