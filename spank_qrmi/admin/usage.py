# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi usage`: sums of what acquisitions have left in the usage logs of one or many nodes.

A file is read line by line, and of each only what is summed is kept: as many records as a site
collects in years take seconds, and no more memory than their sums.
"""

import argparse
import csv
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from spank_qrmi.errors import UsageLogError
from spank_qrmi.redaction import printable
from spank_qrmi.state import usage_log
from spank_qrmi.state.usage_log import open_lines
from spank_qrmi.trust.paths import name_of_user

log = logging.getLogger(__name__)

GROUPS = ("user", "account", "qpu", "day")
"""By what is summed; a day is that of a record's end, in UTC."""

_USUAL_GROUPS = ("user", "qpu")
_SUMS = ("acquisitions", "refused", "held_seconds", "usage_seconds")
_NONE = "-"
# As a text, behind every time.
_AFTER_ALL = "~"
_AGO = re.compile(r"([0-9]{1,5})([hd])")
_HOURS = {"h": 1, "d": 24}
_FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ")
_NUMBER = (int, float)


@dataclass
class Sum:
    """What one group of records comes to; `refused` are those that no job had."""

    acquisitions: int = 0
    refused: int = 0
    held_seconds: float = 0
    usage_seconds: float = 0


@dataclass(frozen=True)
class Wanted:
    """Which records count: all that are given must agree; times are as records have them."""

    jobs: frozenset[int] = frozenset()
    users: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    qpus: frozenset[str] = frozenset()
    since: str = ""
    until: str = _AFTER_ALL

    def takes(self, record: dict[str, Any]) -> bool:
        """Return whether a record counts."""
        return (
            self.since <= _text(record, "finished") < self.until
            and (not self.jobs or not self.jobs.isdisjoint(_jobs_of(record)))
            and (not self.users or not self.users.isdisjoint(_names_of_user(record)))
            and (not self.accounts or record.get("account") in self.accounts)
            and (not self.qpus or record.get("resource") in self.qpus)
        )


@dataclass
class Sums:
    """Sums by their groups' values; `unreadable` lines are no records."""

    by_group: dict[tuple[str, ...], Sum] = field(default_factory=dict)
    unreadable: int = 0


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand to those of `spank-qrmi`."""
    usage = commands.add_parser("usage", help="sum up what jobs have used")
    usage.add_argument("--job", action="append", type=int, metavar="ID", default=[])
    usage.add_argument("--user", action="append", metavar="NAME", default=[])
    usage.add_argument("--account", action="append", metavar="NAME", default=[])
    usage.add_argument("--qpu", action="append", metavar="NAME", default=[])
    usage.add_argument("--since", type=_time, metavar="TIME")
    usage.add_argument("--until", type=_time, metavar="TIME")
    usage.add_argument("--by", type=_groups, default=_USUAL_GROUPS, metavar="GROUPS")
    how = usage.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="for programs")
    how.add_argument("--csv", action="store_true", help="for spreadsheets")
    usage.add_argument("files", nargs="*", type=Path, metavar="FILE")
    usage.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the sums; raise UsageLogError if a file cannot be read."""
    wanted = Wanted(
        frozenset(options.job),
        frozenset(options.user),
        frozenset(options.account),
        frozenset(options.qpu),
        options.since or "",
        options.until or _AFTER_ALL,
    )
    sums = sum_up(options.files or [Path(usage_log.DEFAULT_PATH)], wanted, options.by)
    if sums.unreadable:
        log.warning("%d lines are no records, and are left out", sums.unreadable)
    rows = _rows(sums, options.by)
    if options.json:
        sys.stdout.write(orjson.dumps(rows).decode() + "\n")
    elif options.csv:
        writer = csv.DictWriter(sys.stdout, [*options.by, *_SUMS])
        writer.writeheader()
        writer.writerows(rows)
    else:
        for line in _table(rows, [*options.by, *_SUMS]):
            sys.stdout.write(f"{line}\n")


def sum_up(paths: Iterable[Path], wanted: Wanted, groups: Sequence[str]) -> Sums:
    """Return the sums of all records in these files that are wanted; raise UsageLogError."""
    sums = Sums()
    readers = [_GROUP_READERS[group] for group in groups]
    by_group = sums.by_group
    for record in _records(paths, sums):
        if not wanted.takes(record):
            continue
        key = tuple([read(record) for read in readers])
        found = by_group.get(key)
        if found is None:
            found = by_group[key] = Sum()
        found.acquisitions += 1
        found.refused += record.get("result") == "refused"
        found.held_seconds += _seconds(record, "held_seconds")
        found.usage_seconds += _seconds(record, "usage")
    return sums


def _records(paths: Iterable[Path], sums: Sums) -> Iterator[dict[str, Any]]:
    for path in paths:
        try:
            with open_lines(path) as lines:
                for line in lines:
                    try:
                        record = orjson.loads(line)
                    except ValueError:
                        record = None
                    if isinstance(record, dict) and "acquisition_id" in record:
                        yield record
                    else:
                        sums.unreadable += 1
        except (OSError, EOFError) as error:
            reason = getattr(error, "strerror", None) or "it is cut off"
            raise UsageLogError(f"{path}: cannot be read: {reason}") from error


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    return value if isinstance(value, str) else ""


def _seconds(record: dict[str, Any], key: str) -> float:
    value = record.get(key)
    return value if type(value) in _NUMBER else 0  # type: ignore[return-value]


def _jobs_of(record: dict[str, Any]) -> set[object]:
    """Return the ids by which a job is known: those of its array and its leader too."""
    ids = (record.get(key) for key in ("job_id", "array_job_id", "het_job_id"))
    return {each for each in ids if isinstance(each, int)}


def _names_of_user(record: dict[str, Any]) -> set[str]:
    return {_user(record), str(record.get("uid"))}


def _user(record: dict[str, Any]) -> str:
    """Return the user's name as Slurm has told it, else as this machine knows it."""
    user, uid = record.get("user"), record.get("uid")
    if isinstance(user, str):
        return user
    return _known_name(uid) if isinstance(uid, int) else _NONE


@cache
def _known_name(uid: int) -> str:
    return name_of_user(uid)


_GROUP_READERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "user": _user,
    "account": lambda record: _text(record, "account") or _NONE,
    "qpu": lambda record: _text(record, "resource") or _NONE,
    "day": lambda record: _text(record, "finished")[:10] or _NONE,
}


def _rows(sums: Sums, groups: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            **dict(zip(groups, key, strict=True)),
            "acquisitions": found.acquisitions,
            "refused": found.refused,
            "held_seconds": round(found.held_seconds, 3),
            "usage_seconds": round(found.usage_seconds, 3),
        }
        for key, found in sorted(sums.by_group.items())
    ]


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> list[str]:
    if not rows:
        return ["nothing was used"]
    cells = [[column.upper() for column in columns]]
    cells += [[printable(str(row[column])) for column in columns] for row in rows]
    if len(rows) > 1:
        totals = [sum(row[column] for row in rows) for column in _SUMS]
        groups = (
            ["total", *[""] * (len(columns) - len(_SUMS) - 1)] if len(columns) > len(_SUMS) else []
        )
        cells.append([*groups, *(str(round(each, 3)) for each in totals)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numbers = len(columns) - len(_SUMS)
    return [
        "  ".join(
            cell.ljust(width) if at < numbers else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _groups(text: str) -> tuple[str, ...]:
    groups = tuple(dict.fromkeys(text.split(",")))
    unknown = [each for each in groups if each not in GROUPS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(GROUPS)}")
    return groups


def _time(text: str) -> str:
    """Return a time, or how long ago, as records have it: UTC, so that texts can be compared."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        hours = int(ago[1]) * _HOURS[ago[2]]
        return (datetime.now(timezone.utc) - timedelta(hours=hours)).strftime(_FORMATS[-1])
    for each in _FORMATS:
        try:
            return datetime.strptime(text, each).strftime(_FORMATS[-1])  # noqa: DTZ007 (it is UTC)
        except ValueError:
            continue
    raise argparse.ArgumentTypeError(
        f"{text!r} is no time: write 2026-11-30, 2026-11-30T12:00 (UTC), 12h or 30d"
    )
