# SPDX-License-Identifier: GPL-3.0-or-later
"""The usage log against the simulated site's own list of sessions: one record for each of them.

A session whose id no record names may be one whose answer was lost: then nobody here has ever
learned its id. It is taken for an acquisition that the journal or a record calls unanswered, if it
is of the same QPU and lies within the time in which that one may have opened something; each
unanswered acquisition stands for one session at most. How many these are is counted.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.base import UnheldClient

_UNANSWERED_RECORD = "unanswered"
_UNANSWERED_ENTRY = "never answered"
_TYPES_WITH_SESSIONS = {
    name for name, client in CLIENTS.items() if not issubclass(client, UnheldClient)
}

Document = Mapping[str, Any]
"""A session of the site's, a record of the usage log or an entry of `spank-qrmi status --json`."""


@dataclass(frozen=True)
class Unanswered:
    """An acquisition whose answer never came: it may have opened a session within its time.

    Times are Unix seconds; without an end, it may have opened one that ends at any time.
    """

    resource: str
    asked_at: float
    latest_end: float

    def may_be(self, session: Document) -> bool:
        """Whether it may have opened a session."""
        return (
            self.resource == session["backend_name"]
            and self.asked_at <= session["created_at"]
            and end_of(session) <= self.latest_end
        )


@dataclass(frozen=True)
class Comparison:
    """What became of it: sessions with one record of theirs, and those that are undecided.

    Of `unanswered` acquisitions, `taken` stand for a session. `problems` are in words.
    """

    recorded: int
    unanswered: int
    taken: int
    problems: Sequence[str]

    @property
    def line(self) -> str:
        """The figures in words."""
        return (
            f"{self.recorded} have the one record that names them, {self.taken} are taken for "
            f"acquisitions without an answer, of which there are {self.unanswered}"
        )


def compare(
    sessions: Sequence[Document], records: Sequence[Document], entries: Sequence[Document]
) -> Comparison:
    """Hold the site's sessions, the records and what is left in the journal against each other."""
    by_hash = {_hash_of(each["id"]): each for each in sessions}
    naming = defaultdict(list)
    for record in records:
        naming[record["session"]].append(record)
    unnamed = [each for shown, each in by_hash.items() if shown not in naming]
    unanswered = [*_unanswered_entries(entries), *_unanswered_records(records)]
    unexplained = unexplained_by(unnamed, unanswered)
    problems = [f"{_name(each)} has no record" for each in unexplained]
    problems += _repeated(records)
    for shown, session in by_hash.items():
        problems += _wrong_records(session, naming[shown])
    for record in records:
        problems += _without_session(record, by_hash)
    return Comparison(
        recorded=sum(len(naming[shown]) == 1 for shown in by_hash),
        unanswered=len(unanswered),
        taken=len(unnamed) - len(unexplained),
        problems=problems,
    )


def unexplained_by(
    sessions: Sequence[Document], unanswered: Sequence[Unanswered]
) -> list[Document]:
    """Return the sessions for which no unanswered acquisition is left, each standing for one.

    As many as possible find one: what was asked before a session was asked before each later one
    too, so of these the one that ends first is the least loss to them.
    """
    free = sorted(unanswered, key=lambda each: each.latest_end)
    left = []
    for session in sorted(sessions, key=lambda each: float(each["created_at"])):
        found = next((each for each in free if each.may_be(session)), None)
        if found is None:
            left.append(session)
        else:
            free.remove(found)
    return left


def untold(sessions: Sequence[Document], entries: Sequence[Document]) -> list[Document]:
    """Return the sessions of which no entry of the journal tells that was never answered."""
    return unexplained_by(sessions, list(_unanswered_entries(entries)))


def end_of(session: Document) -> float:
    """Return when a session that nobody closes has ended, in Unix seconds."""
    return float(session["created_at"]) + float(session["max_ttl"])


def _unanswered_entries(entries: Sequence[Document]) -> Iterator[Unanswered]:
    for each in entries:
        if each["state"] == _UNANSWERED_ENTRY:
            latest_end = math.inf if each["ends_at"] is None else float(each["ends_at"])
            yield Unanswered(each["resource"], each["acquired_at"], latest_end)


def _unanswered_records(records: Sequence[Document]) -> Iterator[Unanswered]:
    for each in records:
        if each["result"] == _UNANSWERED_RECORD:
            asked_at, latest_end = (_unix(each[key]) for key in ("created", "finished"))
            yield Unanswered(each["resource"], asked_at, latest_end)


def _wrong_records(session: Document, records: Sequence[Document]) -> Iterator[str]:
    if len(records) > 1:
        ids = ", ".join(each["acquisition_id"] for each in records)
        yield f"{_name(session)} has {len(records)} records: of the acquisitions {ids}"
    for record in records:
        if record["resource"] != session["backend_name"]:
            yield f"{_name(session)} is in the {_name_of_record(record)}"


def _without_session(record: Document, by_hash: Mapping[str, Document]) -> Iterator[str]:
    if record["session"] is not None and record["session"] not in by_hash:
        yield f"the {_name_of_record(record)} names a session that the site has never opened"
    is_to_name_one = (
        record["type"] in _TYPES_WITH_SESSIONS and record["result"] != _UNANSWERED_RECORD
    )
    if is_to_name_one and record["session"] is None:
        yield f"the {_name_of_record(record)} names no session"


def _repeated(records: Sequence[Document]) -> Iterator[str]:
    seen = set()
    for record in records:
        if record["acquisition_id"] in seen:
            yield f"the {_name_of_record(record)} is there once more"
        seen.add(record["acquisition_id"])


def _name(session: Document) -> str:
    return f"session {session['id']} on {session['backend_name']}"


def _name_of_record(record: Document) -> str:
    return (
        f"record of acquisition {record['acquisition_id']} of {record['resource']} "
        f"by job {record['job_id']}"
    )


def _hash_of(session_id: str) -> str:
    return f"sha256:{hashlib.sha256(session_id.encode()).hexdigest()[:16]}"


def _unix(utc: str | None) -> float:
    if utc is None:
        return math.inf
    return datetime.strptime(utc, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
