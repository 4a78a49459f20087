# SPDX-License-Identifier: GPL-3.0-or-later
"""A catalog as a monitor writes it."""

from typing import Any

from spank_qrmi.catalog.entries import Catalog, CatalogEntry
from spank_qrmi.status import QpuState, QpuStatus

AS_OF = 1_700_000_000
VALID_UNTIL = AS_OF + 90


def entry(name: str = "qa", state: QpuState = QpuState.ONLINE, **changes: Any) -> CatalogEntry:
    """Return one QPU; what `changes` names of a status is changed there."""
    facts = {key: changes.pop(key) for key in list(changes) if hasattr(QpuStatus, key)}
    values = {"types": ("direct-access",), "since": AS_OF - 60, "answered_at": AS_OF}
    values |= {"license_name": f"qpu_{name}", **changes}
    return CatalogEntry(name, status=QpuStatus(state, **facts), **values)


def catalog(*entries: CatalogEntry) -> Catalog:
    return Catalog(AS_OF, VALID_UNTIL, entries)


PAUSED = entry(
    "qb",
    QpuState.PAUSED,
    reason="maintenance",
    waiting_jobs=3,
    free_slots=0,
    total_slots=4,
    calibrated_at="2023-11-14T20:00Z",
    available_at="2023-11-15T08:00Z",
    facts_at="2023-11-14T22:13Z",
    types=("direct-access", "ibm-quantum-system"),
    answered_at=None,
    total_licenses=4,
    withheld_licenses=4,
    uids=(1000, 1001),
    gids=(),
)
