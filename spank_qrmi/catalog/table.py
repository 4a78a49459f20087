# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog as users see it: a table, a line for each QPU."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from spank_qrmi.catalog.entries import Catalog, CatalogEntry
from spank_qrmi.catalog.lines import told
from spank_qrmi.status import QpuState

_HEADINGS = ("NAME", "TYPE", "STATE", "WAITING", "FREE", "CALIBRATED", "AGE", "REASON")
_STATE_COLUMN = _HEADINGS.index("STATE")
_NOT_FOR_YOU = "not for you"
_NONE = "-"

# ECMA-48, 8.3.117.
_COLOURS = {
    QpuState.ONLINE: "32",
    QpuState.BUSY: "33",
    QpuState.PAUSED: "33",
    QpuState.OFFLINE: "31",
    QpuState.UNKNOWN: "31",
}

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True)
class Reader:
    """Who reads the table, and when: Unix seconds. Root may use everything."""

    uid: int
    gids: Collection[int]
    now: int

    def may_use(self, entry: CatalogEntry) -> bool:
        """Return whether the QPU is for this user."""
        return self.uid == 0 or entry.is_for(self.uid, self.gids)


def table_of(catalog: Catalog, reader: Reader, *, has_colours: bool) -> list[str]:
    """Return the table's lines, and one more if the catalog is too old to be believed.

    AGE is how long ago the QPU's service has answered.
    """
    rows = [_HEADINGS, *(_row_of(entry, reader) for entry in catalog.entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    colours = [
        None,
        *(_COLOURS[entry.status.state] if has_colours else None for entry in catalog.entries),
    ]
    lines = [_line_of(row, widths, colour) for row, colour in zip(rows, colours, strict=True)]
    old = old_text(catalog, reader.now)
    return [*lines, old] if old else lines


def old_text(catalog: Catalog, now: int) -> str:
    """Return what to tell of a catalog that is too old; nothing of one that is not."""
    if now <= catalog.valid_until:
        return ""
    return (
        f"this catalog is old: it is of {age_text(catalog.as_of, now)} ago, and none of it may "
        "still be so: tell the administrator that its monitor is silent"
    )


def age_text(then: int | None, now: int) -> str:
    """Return how long ago that was, in its largest whole unit; a clock may be ahead."""
    if then is None:
        return "never"
    seconds = max(0, now - then)
    size, unit = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{seconds // size} {unit}"


def _row_of(entry: CatalogEntry, reader: Reader) -> tuple[str, ...]:
    status = entry.status
    reasons = ["" if reader.may_use(entry) else _NOT_FOR_YOU, told(entry)]
    return (
        entry.name,
        ",".join(entry.types),
        status.state.value,
        _NONE if status.waiting_jobs is None else str(status.waiting_jobs),
        _slots_text(status.free_slots, status.total_slots),
        status.calibrated_at or _NONE,
        age_text(entry.answered_at, reader.now),
        "; ".join(filter(None, reasons)),
    )


def _slots_text(free: int | None, total: int | None) -> str:
    if free is None:
        return _NONE
    return str(free) if total is None else f"{free}/{total}"


def _line_of(row: Sequence[str], widths: Sequence[int], colour: str | None) -> str:
    cells = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
    if colour is not None:
        cells[_STATE_COLUMN] = f"\x1b[{colour}m{cells[_STATE_COLUMN]}\x1b[0m"
    return "  ".join(cells).rstrip()
