# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node holds, for people and for programs: each entry of the journal without its secrets."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from spank_qrmi.errors import JournalError
from spank_qrmi.protocol import step_name
from spank_qrmi.redaction import printable
from spank_qrmi.state.journal import Entry, Journal, utc_text
from spank_qrmi.state.orphans import is_being_acquired, is_orphaned
from spank_qrmi.trust.paths import name_of_user

_HEADINGS = ("JOB", "STEP", "USER", "RESOURCE", "TYPE", "SINCE", "STATE")

_ACQUIRING = "being acquired"
_UNANSWERED = "never answered"
_TOLD = "told to end"
_FAILED = "release failed"
_HELD = "held"
_IN_USE = "in use, nothing is held"
_OVER = "over, its record is not written yet"
STATES = (_ACQUIRING, _UNANSWERED, _TOLD, _FAILED, _HELD, _IN_USE, _OVER)
"""All that `state_of` returns."""

_Shown = TypeVar("_Shown")


def state_of(entry: Entry) -> str:
    """Return in which part of its life an acquisition is."""
    if entry.is_over or entry.record:
        return _OVER
    if entry.holds_nothing:
        return _IN_USE
    if is_being_acquired(entry):
        return _ACQUIRING
    if entry.token is None:
        return _UNANSWERED
    if entry.is_told and not entry.failure:
        return _TOLD
    return _FAILED if entry.failure else _HELD


def document_of(journal: Journal) -> dict[str, object]:
    """Return what the journal holds as a JSON document: `entries`, and `unreadable` as lines.

    Times are Unix seconds, `uid` and ids numbers. Raises JournalError.
    """
    entries, unreadable = _read_sorted(journal, _document_of_entry)
    return {"entries": entries, "unreadable": unreadable}


def _document_of_entry(entry: Entry) -> dict[str, object]:
    return {
        "job_id": entry.job_id,
        "restart_count": entry.restart_count,
        "step": step_name(entry.step_id),
        "uid": entry.uid,
        "resource": entry.resource_name,
        "type": entry.resource_type,
        "state": state_of(entry),
        "acquired_at": entry.acquired_at,
        "is_orphaned": is_orphaned(entry),
        "reason": entry.failure,
        "failed_at": entry.failed_at,
        "failures": entry.failures,
        "ends_at": entry.ends_at if entry.token is None else None,
    }


def lines_of(journal: Journal) -> list[str]:
    """Return a table of what the journal holds, then what cannot be read; raise JournalError."""
    entries, unreadable = _read_sorted(journal, _row)
    rows = [_HEADINGS, *entries] if entries else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [printable(line) for line in [*lines, *unreadable]] or ["nothing is held on this node"]


def _read_sorted(
    journal: Journal, show: Callable[[Entry], _Shown]
) -> tuple[list[_Shown], list[str]]:
    """Return what is to be shown of each entry, and a line for each that cannot be read."""
    shown: list[tuple[tuple[int, int, str], _Shown]] = []
    unreadable = []
    for each in journal.entries():
        if isinstance(each, JournalError):
            unreadable.append(str(each))
        else:
            shown.append(((each.job_id, each.restart_count, each.resource_name), show(each)))
    shown.sort(key=lambda pair: pair[0])
    return [what for _, what in shown], unreadable


def _row(entry: Entry) -> Sequence[str]:
    restart = f" (restart {entry.restart_count})" if entry.restart_count else ""
    return (
        f"{entry.job_id}{restart}",
        step_name(entry.step_id),
        name_of_user(entry.uid),
        entry.resource_name,
        entry.resource_type,
        "unknown" if entry.acquired_at is None else utc_text(entry.acquired_at),
        _state_text(entry),
    )


def _state_text(entry: Entry) -> str:
    text = state = state_of(entry)
    if is_orphaned(entry):
        text += ", its step is gone"
    if entry.failed_at is not None and entry.token is not None:
        text += f", {entry.failures} times, last {utc_text(entry.failed_at)}"
    reason = entry.failure or (entry.may_be_open_text if state == _UNANSWERED else "")
    return f"{text}: {reason}" if reason else text
