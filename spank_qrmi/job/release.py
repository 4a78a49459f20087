# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job's end does with its QPUs, told in order; acquiring undoes by the same means."""

import contextlib
import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from spank_qrmi.answer import AnswerWriter
from spank_qrmi.configuration.qrmi_plugstack import PluginArguments
from spank_qrmi.configuration.slurm_files import epilog_seconds
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ConfigError, JournalError, QrmiError, ReleaseError
from spank_qrmi.job import step
from spank_qrmi.job.accounts import accounting_of
from spank_qrmi.job.admin_comment import comment_step
from spank_qrmi.job.releaser import Releaser
from spank_qrmi.job.resolution import shown_names
from spank_qrmi.network.worker_side import Network
from spank_qrmi.protocol import Request, Verdict
from spank_qrmi.state.accounting import EndedBy
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.orphans import is_being_acquired, select_orphans_to_retry
from spank_qrmi.state.owner import is_elsewhere

log = logging.getLogger(__name__)

EPILOG_MARGIN_SECONDS = 5.0
"""What an epilog needs besides, of the time that Slurm gives it."""

ORPHAN_SECONDS = 5.0
"""How long a job's end may take for what other jobs have left behind."""

UNCHANGED_SECONDS = 60.0
"""What was written since then is of a living step, or was tried: where many short jobs end, each
would read the entries of all."""


def release(request: Request, deadline: Deadline, answer: AnswerWriter, network: Network) -> None:
    """Release what the journal says the step holds; what fails stays in the journal.

    Then what other jobs have left behind is tried again, which only the log tells: these lines are
    not this job's. Raises ArgumentError for arguments that cannot be used, ReleaseError if
    journal or network cannot.
    """
    arguments = step.read_arguments(request, answer)
    journal = Journal(arguments.state_directory)
    with _tell_what_is_not_released(request):
        entries = [entry for entry in step.entries_of_step(request, journal) if entry.needs_release]
        # What others have left is not known yet, and most of it was left with the same variables.
        is_asked = any(entry.is_held for entry in entries)
        whose: list[Entry | PluginArguments] = [*entries, arguments] if is_asked else []
        step.open_network(network, whose, arguments, answer.redactor, deadline)
    accounting = accounting_of(arguments, EndedBy.EXIT, request.slurm_conf)
    releaser = Releaser(journal, deadline, network, accounting=accounting)
    failed = release_entries(entries, releaser, answer)
    _send_failures(((entry.resource_name, error) for entry, error in failed), answer)
    seconds = min(ORPHAN_SECONDS, deadline.remaining_seconds())
    orphans = []
    try:
        if seconds > 0.0:
            accounting.write_late(journal, deadline.within(seconds))
            orphans = _read_orphans(journal, entries, network if is_asked else None)
        if not is_asked:
            held = [orphan for orphan in orphans if orphan.is_held]
            step.open_network(network, held, arguments, answer.redactor, deadline)
    except QrmiError as error:
        orphans = []
        log.debug("what other jobs have left is not released: %s", error)
    if orphans:
        releaser = Releaser(
            *(journal, Deadline(seconds), network),
            entry_seconds=seconds,
            accounting=replace(accounting, ended_by=EndedBy.OTHER_JOB),
        )
        _release_orphans(orphans, releaser, answer)
    with contextlib.suppress(JournalError):
        comment_step(
            accounting,
            journal,
            (request.job_id, request.restart_count, request.step_id),
            deadline,
        )
    answer.end(Verdict.RUN, left_count=len(failed))


def release_job(
    request: Request, deadline: Deadline, answer: AnswerWriter, network: Network
) -> None:
    """Release what the journal says that any step of an ended job has left on this node.

    The job itself may go on: on the other nodes if it gave this one away (`scontrol update
    NumNodes=`), or again after its node was lost. Slurm would drain a node whose epilog takes
    longer than slurm.conf allows. Raises as `release` does.
    """
    deadline = deadline.within(_seconds_of_epilog(request.slurm_conf))
    arguments = step.read_arguments(request, answer)
    journal = Journal(arguments.state_directory)
    with _tell_what_is_not_released(request):
        entries = [
            entry
            for entry in step.skip_unreadable(journal.entries(request.job_id))
            if entry.needs_release and not is_being_acquired(entry)
            if entry.owner is None or not is_elsewhere(entry.owner)
        ]
        held = [entry for entry in entries if entry.is_held]
        step.open_network(network, held, arguments, answer.redactor, deadline)
    accounting = accounting_of(arguments, EndedBy.EPILOG, request.slurm_conf)
    releaser = Releaser(journal, deadline, network, accounting=accounting)
    failed = release_entries(entries, releaser, answer)
    _send_failures(
        ((f"{entry.resource_name} of job {entry.job_id}", error) for entry, error in failed), answer
    )
    answer.end(Verdict.RUN, left_count=len(failed))


def _seconds_of_epilog(slurm_conf: str) -> float:
    """Return how long releasing may take by slurm.conf; half of a limit that is very short."""
    try:
        limit_seconds = epilog_seconds(Path(slurm_conf)) if slurm_conf else None
    except ConfigError as error:
        log.debug("%s", error)
        limit_seconds = None
    if limit_seconds is None:
        return math.inf
    return max(limit_seconds - EPILOG_MARGIN_SECONDS, limit_seconds / 2)


@contextlib.contextmanager
def _tell_what_is_not_released(request: Request) -> Iterator[None]:
    try:
        yield
    except QrmiError as error:
        raise ReleaseError(
            f"what job {request.job_id} may hold is not released: {error}"
        ) from error


def _send_failures(failures: Iterable[tuple[str, QrmiError]], answer: AnswerWriter) -> None:
    for reason, names in step.names_by_reason(failures).items():
        answer.send_message(f"QPU {shown_names(names)}: {reason}")


def release_entries(
    entries: Sequence[Entry], releaser: Releaser, answer: AnswerWriter
) -> list[tuple[Entry, QrmiError]]:
    """Release all at once; return what is still held, each with its error."""
    for entry in entries:
        answer.redactor.add(entry.secrets())
    outcomes = releaser.release_all(entries)
    return [
        (entry, error) for entry, error in zip(entries, outcomes, strict=True) if error is not None
    ]


def _read_orphans(journal: Journal, own: Sequence[Entry], network: Network | None) -> list[Entry]:
    """Return what to try of what other jobs have left; raise JournalError.

    A network that is given is open, and only for some variables.
    """
    own_names = {entry.file_name for entry in own}
    now = time.time()
    others = (
        entry
        for entry in journal.entries_before(now - UNCHANGED_SECONDS)
        if isinstance(entry, Entry) and entry.file_name not in own_names
        if network is None or network.has_variables(entry.node_variables)
    )
    return select_orphans_to_retry(others, now)


def _release_orphans(orphans: Sequence[Entry], releaser: Releaser, answer: AnswerWriter) -> None:
    log.debug("%d QPUs that other jobs have left are tried again", len(orphans))
    release_entries(orphans, releaser, answer)
