# SPDX-License-Identifier: GPL-3.0-or-later
"""One record for each acquisition that is over, whatever ended it, and however often we are killed.

An acquisition has a record if its service held something for it, or may have, or if a job had it.
The way of one, each step under the lock of its entry:

    its entry says that it is over, and has the record   nothing is released for it any longer
    the record is added to the usage log                 one line
    the entry is taken away

Who finds an entry that is over, looks into the usage log whether the second step was done. Where
that log takes nothing, the entry waits under a name that is no job's, for `write_late`. Nothing
here keeps a release from being done, or lets it fail.
"""

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from enum import Enum
from hashlib import sha256

import orjson

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import JournalError, UsageLogError
from spank_qrmi.numbers_in_text import parse_number
from spank_qrmi.protocol import step_name
from spank_qrmi.state.journal import Entry, Journal, LockedEntry
from spank_qrmi.state.usage_log import UsageLog
from spank_qrmi.usage import NOT_TOLD, Usage

log = logging.getLogger(__name__)

_NUMBERS = ("array_job_id", "array_task_id", "het_job_id", "het_job_offset")
_TEXTS = ("user", "account", "partition")
_LARGEST_NUMBER = 2**32 - 1
_SHOWN_DIGITS = 16
# Two clocks tell when a file was written: ours, and the coarser one of its file system.
_CLOCK_SECONDS = 2


class EndedBy(str, Enum):
    """Who ended an acquisition."""

    ACQUISITION = "acquisition"
    EXIT = "exit"
    EPILOG = "epilog"
    OTHER_JOB = "another job"
    COMMAND = "command"
    TIMER = "timer"


class Result(str, Enum):
    """What became of an acquisition."""

    RELEASED = "released"
    """The job had it, and it was given back."""

    REFUSED = "refused"
    """The service held something, which was given back before the job could use it."""

    UNANSWERED = "unanswered"
    """The answer never came: what may have been held has ended by itself."""

    DROPPED = "dropped"
    """It could not be given back at an endpoint of the user's own, and nobody tries any longer."""


@dataclass(frozen=True)
class Accounting:
    """Where records go, None if there are none; and what they say of the process that ends.

    `cluster` gives the name of Slurm's cluster, or nothing. If it `is_commenting`, the entry stays
    until its job was told too (`job/admin_comment.py`), for which `slurm_conf` may be known.
    """

    usage_log: UsageLog | None = None
    ended_by: EndedBy = EndedBy.EXIT
    cluster: Callable[[], str] = str
    is_commenting: bool = False
    slurm_conf: str = ""

    @property
    def is_on(self) -> bool:
        """Whether there are records."""
        return self.usage_log is not None or self.is_commenting

    def end(
        self,
        locked: LockedEntry,
        result: Result,
        *,
        is_gone: bool = True,
        usage: Usage = NOT_TOLD,
    ) -> None:
        """Take away an entry whose acquisition is over; raise JournalError if that is impossible.

        It leaves its record. If it is not `is_gone` yet, it is kept as told, see `LockedEntry.end`.
        `usage` is what the service says was used.
        """
        if not self.is_on:
            locked.end(is_gone=is_gone)
            return
        entry = locked.entry
        if not entry.record and entry.finished_at is None:
            entry = replace(entry, finished_at=int(time.time()))
        if not is_gone and not entry.has_users_endpoint:
            # Without it the record says when the service was found to have ended it.
            with contextlib.suppress(JournalError):
                locked.write(entry)
            locked.end(is_gone=False)
        elif entry.record or entry.is_over:
            self._write_record(locked, may_be_written=True)
        else:
            over = self._over(entry, result, usage)
            try:
                locked.write(over)
            except JournalError as error:
                # A full disk: there is a name for it, which needs no room.
                log.warning("%s", error)
                locked.keep_for_record()
                locked.entry = replace(over, is_over=True, is_told=False)
            self._write_record(locked)

    def _over(self, entry: Entry, result: Result, usage: Usage) -> Entry:
        """Return an entry as it is once it is over: with its record, and without any secret."""
        if entry.refusal and result is Result.RELEASED:
            result = Result.REFUSED
        record = record_of(entry, result, self.ended_by, self.cluster(), usage)
        return replace(
            entry,
            record=orjson.dumps(record).decode(),
            values={},
            token=None,
            node_variables={},
            secret_keys=[],
            failure="",
        )

    def _write_record(self, locked: LockedEntry, *, may_be_written: bool = False) -> bool:
        """Write the record of an entry that is over, and take that away; return False if it waits.

        Raises JournalError if the entry stays as it is. `may_be_written` of one that was found so,
        which somebody has begun to end.
        """
        entry = locked.entry
        try:
            # An entry that is over has no record if a disk was full.
            line = (entry.record or self._late_record(locked)).encode("utf-8", "surrogateescape")
            since = locked.written_at() - _CLOCK_SECONDS
            if not (may_be_written and self._is_written(entry, since)):
                self._append(line)
        except UsageLogError as error:
            log.warning(
                "what job %d has used of %s is recorded later: %s",
                *(entry.job_id, entry.resource_name, error),
            )
            locked.keep_for_record()
            return False
        if not self.is_commenting:
            locked.remove()
        elif not entry.is_filed:
            locked.keep_for_record()
            # Else it is looked for once more.
            with contextlib.suppress(JournalError):
                locked.write(replace(locked.entry, record=line.decode(), is_filed=True))
        return True

    def _is_written(self, entry: Entry, since: float) -> bool:
        if entry.is_filed or self.usage_log is None:
            return True
        return self.usage_log.holds(_id_text(entry), since)

    def _append(self, line: bytes) -> None:
        if self.usage_log is not None:
            self.usage_log.append(line)

    def _late_record(self, locked: LockedEntry) -> str:
        """Return the record of an entry that could only be renamed when it was over."""
        entry = locked.entry
        if entry.finished_at is None:
            entry = replace(entry, finished_at=math.ceil(locked.written_at()))
        is_unanswered = entry.token is None and not entry.holds_nothing
        result = Result.UNANSWERED if is_unanswered else Result.RELEASED
        return self._over(entry, result, NOT_TOLD).record

    def write_late(self, journal: Journal, deadline: Deadline) -> None:
        """Write the records that wait, until the usage log takes none; log what fails.

        Raises JournalError if the journal cannot be read.
        """
        if not self.is_on:
            return
        for entry in journal.entries_over():
            if self.is_commenting and entry.is_filed:
                continue
            try:
                if deadline.has_passed() or not self._write_late_record(journal, entry):
                    break
            except JournalError as error:
                log.warning("%s", error)

    def _write_late_record(self, journal: Journal, entry: Entry) -> bool:
        """Return False if the usage log takes none."""
        locked = journal.lock(entry, Deadline(0))
        if locked is None:
            return True
        with locked:
            return self._write_record(locked, may_be_written=True)


NO_ACCOUNTING = Accounting()


def provisional_records(journal: Journal, step: tuple[int, int, int]) -> list[dict[str, object]]:
    """Return what is known of what a step's services have only agreed to end."""
    return [
        record_of(entry, Result.RELEASED, EndedBy.EXIT, "", NOT_TOLD)
        for entry in journal.entries_of_step_told(*step)
    ]


def record_of(
    entry: Entry, result: Result, ended_by: EndedBy, cluster: str, usage: Usage
) -> dict[str, object]:
    """Return the record of an acquisition that is over.

    Times are UTC. The record's `usage` is in seconds: what the service tells, else how long it was
    held; jobs and shots are there only if the service tells them.
    """
    granted_at = entry.granted_at
    finished_at = entry.finished_at
    if result is Result.UNANSWERED:
        granted_at, finished_at = None, entry.ends_at
    held_seconds = None
    if granted_at is not None and finished_at is not None:
        held_seconds = max(0, finished_at - granted_at)
    used_seconds = held_seconds if usage.seconds is None else usage.seconds
    source = "held" if usage.seconds is None else "service"
    reason = entry.refusal or entry.failure if result is not Result.RELEASED else ""
    return {
        "acquisition_id": entry.acquisition_id,
        "job_id": entry.job_id,
        "step": step_name(entry.step_id),
        # Some releases of Slurm tell a plugin none.
        "restart": max(entry.restart_count, _number(entry.facts.get("restarts")) or 0),
        **{name: _number(entry.facts.get(name)) for name in _NUMBERS},
        "uid": entry.uid,
        **{name: _plain(entry.facts.get(name)) for name in _TEXTS},
        "cluster": cluster or None,
        "node": os.uname().nodename if entry.owner is None else entry.owner.host,
        "resource": _plain(entry.resource_name),
        "type": entry.resource_type,
        "session": _shown_session(entry.token),
        "created": _utc(entry.acquired_at),
        "running": _utc(granted_at),
        "finished": _utc(finished_at),
        "result": result.value,
        "ended_by": ended_by.value,
        "reason": _plain(reason),
        "held_seconds": held_seconds,
        "usage": used_seconds,
        "usage_source": None if used_seconds is None else source,
        "jobs": usage.jobs,
        "shots": usage.shots,
    }


def _id_text(entry: Entry) -> bytes:
    return orjson.dumps({"acquisition_id": entry.acquisition_id})[1:-1]


def _shown_session(token: str | None) -> str | None:
    """Return by what a session can be recognised: its id lets anybody who has the key use it."""
    if token is None:
        return None
    digest = sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
    return f"sha256:{digest[:_SHOWN_DIGITS]}"


def _utc(unix_seconds: int | None) -> str | None:
    if unix_seconds is None:
        return None
    return datetime.fromtimestamp(unix_seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(text: str | None) -> int | None:
    return parse_number(text or "", _LARGEST_NUMBER)


def _plain(text: str | None) -> str | None:
    """Return a text that JSON can hold, nothing for none."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if text else None
