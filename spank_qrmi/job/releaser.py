# SPDX-License-Identifier: GPL-3.0-or-later
"""Giving back what the journal holds; used by a job's end, the epilog, the command and the timer.

Several of them may be at work at once: each entry has a lock, and what another one has released is
not asked for again. What fails is kept, with the reason.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from spank_qrmi.at_once import Shares, do_at_once
from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.base import Settings
from spank_qrmi.configuration.node_variables import check_certificates
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import JournalError, QrmiError, ReleaseError
from spank_qrmi.job.step import acquisition_text
from spank_qrmi.network.calls import ResourceCalls, Services
from spank_qrmi.network.worker_side import Network
from spank_qrmi.state.accounting import NO_ACCOUNTING, Accounting, Result
from spank_qrmi.state.counts import Event, count
from spank_qrmi.state.journal import Entry, Journal, LockedEntry
from spank_qrmi.state.orphans import shares_of
from spank_qrmi.usage import NOT_TOLD, Usage

log = logging.getLogger(__name__)


class Releaser:
    """Releases entries of one journal within one deadline.

    With `entry_seconds` they are many users' entries, in their order: each may take so long, and
    has its user's and its endpoint's shares of what is done at once.
    """

    def __init__(
        self,
        journal: Journal,
        deadline: Deadline,
        network: Network,
        entry_seconds: float | None = None,
        accounting: Accounting = NO_ACCOUNTING,
    ) -> None:
        self._journal = journal
        self._entry_seconds = entry_seconds
        self._deadline = deadline
        self._network = network
        self._accounting = accounting
        self._lock = threading.Lock()
        self._services: dict[tuple[tuple[str, str], ...], Services] = {}

    def release_all(self, entries: Sequence[Entry]) -> list[QrmiError | None]:
        """Release what the entries hold, all at once; return each one's error, None if released.

        The errors' texts hold no secret and leave out the resource's name.
        """
        with contextlib.suppress(JournalError):
            self._journal.clean_up()
        shares = _no_shares if self._entry_seconds is None else shares_of
        outcomes = do_at_once(
            self._release, entries, self._deadline, shares_of=shares, tell=self._log_outcome
        )
        return [
            ReleaseError(entry.clear(str(error))) if isinstance(error, QrmiError) else None
            for entry, error in zip(entries, outcomes, strict=True)
        ]

    def _log_outcome(self, entry: Entry, outcome: bool | QrmiError, seconds: float) -> None:
        text = acquisition_text(
            entry.resource_name,
            entry.job_id,
            entry.uid,
            is_at_users_endpoint=entry.has_users_endpoint,
        )
        # In a step, `srun -v` shows its user what is above debug level: nothing of other users.
        level = logging.INFO if self._entry_seconds is None else logging.DEBUG
        if isinstance(outcome, QrmiError):
            count(self._journal.directory, Event.KEPT)
            log.log(level, "kept %s in %.1f s: %s", text, seconds, entry.clear(str(outcome)))
        elif outcome:
            count(self._journal.directory, Event.RELEASED)
            log.log(level, "released %s in %.1f s", text, seconds)

    def _release(self, entry: Entry) -> bool:
        """Return whether that gave back what the service held, and nobody else has told of it."""
        deadline = self._deadline
        if self._entry_seconds is not None:
            deadline = deadline.within(self._entry_seconds)
        locked = self._journal.lock(entry, deadline)
        if locked is None:
            log.debug("name(%s) was released by another process", entry.resource_name)
            return False
        with locked:
            result, is_gone, usage = Result.RELEASED, True, NOT_TOLD
            token = locked.entry.token
            is_given_back = False
            try:
                if not locked.entry.is_held:
                    log.debug("name(%s): nothing is held for it", locked.entry.resource_name)
                elif locked.entry.is_given_up(time.time()):
                    _give_up(locked.entry)
                    result = Result.DROPPED
                elif token is None:
                    self._let_end(locked)
                    result = Result.UNANSWERED
                else:
                    is_given_back = not locked.entry.is_given_back
                    services = self._services_with(locked.entry.node_variables, deadline)
                    is_gone, usage = self._give_back(locked, services, token)
            except QrmiError as error:
                _note_failure(locked, error)
                raise
            self._accounting.end(locked, result, is_gone=is_gone, usage=usage)
            return is_given_back

    def _give_back(self, locked: LockedEntry, services: Services, token: str) -> tuple[bool, Usage]:
        """Return whether nothing is left to ask for, and what the service says was used."""
        entry = locked.entry
        calls = _calls_of(entry, services)
        is_gone = entry.is_given_back or calls.release(token, was_told=entry.is_told)
        if not (is_gone and self._accounting.is_on):
            return is_gone, NOT_TOLD
        if entry.is_told:
            return True, _usage(entry, calls, token)
        # No job waits for what was used.
        locked.entry = replace(entry, is_given_back=calls.tells_usage)
        return not calls.tells_usage, NOT_TOLD

    def _let_end(self, locked: LockedEntry) -> None:
        """Return if what was never answered has ended by itself; raise ReleaseError until then."""
        entry = locked.entry
        if not entry.has_ended(time.time()):
            raise ReleaseError(
                f"the service never answered the request to acquire: {entry.may_be_open_text}"
            )
        log.info(
            "name(%s) of job %d: %s, so nothing is left to release",
            entry.resource_name,
            entry.job_id,
            entry.may_be_open_text,
        )

    def _services_with(self, node_variables: Mapping[str, str], deadline: Deadline) -> Services:
        """Return the services as they are asked with these variables.

        They are the same for all entries that have one deadline.
        """
        if deadline is not self._deadline:
            return self._network.services(deadline, node_variables)
        key = tuple(sorted(node_variables.items()))
        with self._lock:
            if key not in self._services:
                self._services[key] = self._network.services(self._deadline, node_variables)
            return self._services[key]


def _no_shares(_: Entry) -> Shares:
    return {}


def _give_up(entry: Entry) -> None:
    log.info(
        "name(%s) of job %d is dropped: its endpoint is of user %d, and its time is over",
        *(entry.resource_name, entry.job_id, entry.uid),
    )


def _calls_of(entry: Entry, services: Services) -> ResourceCalls:
    """Return what asks about what is held; raise QrmiError if nothing can."""
    if entry.resource_type not in CLIENTS:
        raise ReleaseError(f"{entry.resource_type} is no resource type that this version knows")
    check_certificates(entry.node_variables)
    settings = Settings(entry.resource_name, entry.values, has_sites_login=entry.has_sites_login)
    return services.resource_calls(entry.resource_type, settings)


def _usage(entry: Entry, calls: ResourceCalls, token: str) -> Usage:
    """Return what the service says was used, if it does; no job waits for that."""
    try:
        return calls.usage(token)
    except QrmiError as error:
        text = entry.clear(str(error))
        log.debug("name(%s): what was used is not told: %s", entry.resource_name, text)
        return NOT_TOLD


def _note_failure(locked: LockedEntry, error: QrmiError) -> None:
    try:
        locked.write(locked.entry.with_failure(str(error), time.time()))
    except JournalError as journal_error:
        log.error("%s", journal_error)
