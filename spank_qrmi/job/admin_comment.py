# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job has used, in its AdminComment, which sacct shows: beside what a site has there.

The comment is a JSON object, of which one key is ours; its last, so that a site's text before that
stays as it is to the letter. What is no JSON object is left alone.
"""

import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ConfigError, JournalError, SlurmError
from spank_qrmi.state.accounting import Accounting, provisional_records
from spank_qrmi.state.journal import Entry, Journal, LockedEntry
from spank_qrmi.state.locked_files import wait_for_lock
from spank_qrmi.trust.files import open_trusted_folder
from spank_qrmi.trust.slurm_commands import SlurmCommands

log = logging.getLogger(__name__)

KEY = "spank_qrmi"

COMMENT_SECONDS = 3.0
"""How long the end of a step may take for its job's comment; what is late is the timer's."""

_FIELDS = ("acquisition_id", "resource", "running", "finished", "result", "usage")
_LONGEST_TRIED_SECONDS = 86400
# sacct's column takes 64 KiB, and one argument of a command 128 KiB.
_LARGEST_BYTES = 32 * 1024
_LINE = re.compile(r"^   AdminComment=(.*)\n(?=   \w+=|\s*\Z|   \n)", re.MULTILINE)
_ANY_LINE = re.compile(r"^ *AdminComment=", re.MULTILINE)
_OURS = f'"{KEY}":'
# slurm/slurm_errno.h: ESLURM_INVALID_JOB_ID, ESLURM_JOB_FINISHED. Once a job has ended, slurmctld
# changes no comment of it; sacctmgr would, but it spoils quotes.
_FINAL_COMPLAINTS = ("Invalid job id", "already finished")


class CommentRefusedError(SlurmError):
    """A comment that is not changed, however often that is tried."""


def comment_step(
    accounting: Accounting, journal: Journal, step: tuple[int, int, int], deadline: Deadline
) -> None:
    """Tell a step's job what it has used, in what is left of a short time; log what fails.

    What its services have only agreed to end is told as it is known now, and once more later.
    """
    if accounting.is_commenting:
        deadline = deadline.within(COMMENT_SECONDS)
        told = provisional_records(journal, step)
        _comment_over(journal, accounting, deadline, told=told, job_id=step[0])


def comment_late(accounting: Accounting, journal: Journal, deadline: Deadline) -> None:
    """Tell all jobs what they have used and were not told yet; log what fails."""
    if accounting.is_commenting:
        _comment_over(journal, accounting, deadline)


def _comment_over(
    journal: Journal,
    accounting: Accounting,
    deadline: Deadline,
    *,
    told: Sequence[Mapping[str, Any]] = (),
    job_id: int | None = None,
) -> None:
    records: dict[str, list[Mapping[str, Any]]] = {}
    entries: dict[str, list[Entry]] = {}
    for record in told:
        records.setdefault(job_name(record), []).append(record)
    for entry in journal.entries_over():
        if entry.record and entry.is_filed and job_id in {None, entry.job_id}:
            record = orjson.loads(entry.record)
            records.setdefault(job_name(record), []).append(record)
            entries.setdefault(job_name(record), []).append(entry)
    commands = SlurmCommands(slurm_conf=accounting.slurm_conf, deadline=deadline)
    for name, of_job in records.items():
        try:
            with _alone(journal, deadline):
                _comment_job(name, of_job, commands)
        except (SlurmError, ConfigError, OSError) as error:
            log.info("what job %s has used is not in its AdminComment: %s", name, error)
            is_refused = isinstance(error, CommentRefusedError)
            is_over = is_refused or any(text in str(error) for text in _FINAL_COMPLAINTS)
        else:
            is_over = True
        _take_away(journal, entries.get(name, ()), is_over=is_over)


def _take_away(journal: Journal, entries: Iterable[Entry], *, is_over: bool) -> None:
    """Take away what its job was told, or cannot be told any longer."""
    for entry in entries:
        try:
            locked = journal.lock(entry, Deadline(0))
            if locked is not None:
                with locked:
                    if is_over or _is_old(locked):
                        locked.remove()
        except JournalError as error:
            log.warning("%s", error)


def _is_old(locked: LockedEntry) -> bool:
    return time.time() - locked.written_at() > _LONGEST_TRIED_SECONDS


@contextmanager
def _alone(journal: Journal, deadline: Deadline) -> Iterator[None]:
    """Let the processes of this node change comments one after the other; raise SlurmError."""
    with open_trusted_folder(journal.directory) as folder:
        # The lock of the folder, until it is closed: no file of its own is left behind.
        if not wait_for_lock(folder, deadline):
            raise SlurmError("another process changes comments")
        yield


def _comment_job(name: str, records: Sequence[Mapping[str, Any]], commands: SlurmCommands) -> None:
    shown = commands.run("scontrol", "show", "job", name)
    comment = comment_in(shown)
    merged = None if comment is None else merged_comment(comment, records)
    if merged is None:
        raise CommentRefusedError("a text of the site's is there, which is kept as it is")
    if merged != comment:
        commands.run("scontrol", "update", f"jobid={name}", f"admincomment={merged}")


def job_name(record: Mapping[str, Any]) -> str:
    """Return what scontrol calls this job alone: the id of an array's last task is the array's."""
    for whole, part, sign in (
        ("array_job_id", "array_task_id", "_"),
        ("het_job_id", "het_job_offset", "+"),
    ):
        if record.get(whole) is not None and record.get(part) is not None:
            return f"{record[whole]}{sign}{record[part]}"
    return str(record["job_id"])


def comment_in(shown: str) -> str | None:
    """Return the AdminComment that `scontrol show job` prints; None if it cannot be told.

    A user's own texts may hold lines that look like it.
    """
    if not _ANY_LINE.search(shown):
        return ""
    found = _LINE.findall(shown)
    is_certain = len(found) == len(_ANY_LINE.findall(shown)) == 1
    # scontrol ends the line with a blank.
    return str(found[0]).rstrip(" ") if is_certain else None


def merged_comment(comment: str, records: Sequence[Mapping[str, Any]]) -> str | None:
    """Return a comment with these records, each in place of an earlier one of its acquisition.

    None if the comment is to be left alone.
    """
    text = comment.strip()
    if text in {"", "(null)"}:
        text = "{}"
    try:
        document = orjson.loads(text)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    before, ours = text[:-1].rstrip(), document.get(KEY, [])
    if KEY in document:
        at = text.rfind(_OURS)
        before = text[:at].rstrip().removesuffix(",")
        # Else it stands somewhere else in the site's text.
        if not isinstance(ours, list) or at < 0 or not _is_end(text[at:], ours):
            return None
    by_id = {each.get("acquisition_id"): each for each in ours if isinstance(each, dict)}
    for record in records:
        by_id[record["acquisition_id"]] = {name: record[name] for name in _FIELDS}
    comma = "" if before.rstrip() == "{" else ","
    merged = f"{before}{comma}{_OURS}{orjson.dumps(list(by_id.values())).decode()}}}"
    return merged if len(os.fsencode(merged)) <= _LARGEST_BYTES else None


def _is_end(text: str, ours: object) -> bool:
    try:
        return bool(orjson.loads("{" + text) == {KEY: ours})
    except ValueError:
        return False
