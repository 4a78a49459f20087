# SPDX-License-Identifier: GPL-3.0-or-later
"""What a catalog tells of each QPU that jobs can ask for."""

from collections.abc import Collection
from dataclasses import dataclass

from spank_qrmi.status import QpuStatus


@dataclass(frozen=True)
class CatalogEntry:
    """One QPU; times are Unix seconds.

    `types` are all names by which jobs find it, the entry's own first. It has been in its state
    `since`; its service last answered at `answered_at`, None if never. `uids` and `gids` are who
    may use it, users or members of groups; everybody where both are None. `withheld_licenses` of
    `total_licenses` are kept from jobs, None where its licence is not in slurm.conf.
    """

    name: str
    types: tuple[str, ...]
    status: QpuStatus
    since: int
    answered_at: int | None
    license_name: str
    total_licenses: int | None = None
    withheld_licenses: int | None = None
    uids: tuple[int, ...] | None = None
    gids: tuple[int, ...] | None = None

    @property
    def is_for_everybody(self) -> bool:
        """Whether no user is kept out."""
        return self.uids is None and self.gids is None

    def is_for(self, uid: int, gids: Collection[int]) -> bool:
        """Return whether a user with these groups may use it, as user or by one of the groups."""
        return (
            self.is_for_everybody
            or uid in (self.uids or ())
            or bool({*gids} & {*(self.gids or ())})
        )


@dataclass(frozen=True)
class Catalog:
    """All QPUs of a configuration as they were at `as_of`; after `valid_until` that is too old."""

    as_of: int
    valid_until: int
    entries: tuple[CatalogEntry, ...]
