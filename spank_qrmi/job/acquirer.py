# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking resources for a step, all of them at the same time.

Whether a resource is accessible is asked while it is being acquired. What the service holds is in
the journal before it is asked, and leaves it once nothing is held. What becomes of one acquisition:

    acquire() …                     check() …   journal                    then
    is not asked: over the quota    any         nothing                    _check_quota
    on another node than the first  any         nothing                    FirstNodeError
    gave a token                    accessible  token                      held
    holds nothing, gave a token     accessible  note for its record        _begin_note
    gave a token                    not         token, until released      release_refused
    failed, surely not acted        any         nothing                    forget
    may have acted, token known     any         token, until released      release_unusable
    may have acted, nothing known   any         failure, and latest end    note_unanswered
    any token                       any         refuses the token          release_unrecorded, or
                                                                           note_unanswered

The user reads the check's reason where that says more: that nothing runs there now explains all.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from spank_qrmi.at_once import begin, do_at_once
from spank_qrmi.clients import CLIENTS, unread_text, values_for_release
from spank_qrmi.clients.base import Hold, Settings
from spank_qrmi.clients.http import LATE_RESPONSE_SECONDS
from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import (
    AcquisitionError,
    FirstNodeError,
    JournalError,
    QrmiError,
    ServiceError,
)
from spank_qrmi.job.environment import ResourceVariables
from spank_qrmi.job.site_choices import (
    check_credentials_stay_home,
    check_names_agree,
    check_nothing_is_raised,
    check_sites_choices,
    check_values_are_text,
    check_variables_are_few,
    has_sites_login,
)
from spank_qrmi.job.step import acquisition_text
from spank_qrmi.network.calls import ResourceCalls, Services
from spank_qrmi.network.worker_side import Network
from spank_qrmi.protocol import Request
from spank_qrmi.state.accounting import NO_ACCOUNTING, Accounting, Result
from spank_qrmi.state.counts import Event, count
from spank_qrmi.state.journal import Entry, Journal, LockedEntry
from spank_qrmi.state.owner import owner_of
from spank_qrmi.state.quota import Quota
from spank_qrmi.state.user_limits import NO_LIMITS, UserLimits

log = logging.getLogger(__name__)

_LONGEST_REASON = 1000


@dataclass(frozen=True)
class Acquired:
    """A resource that the step may use now; `token` is its acquisition token.

    After `longest_seconds` what the service holds has ended by itself, None if nothing is held.
    """

    resource: Resource
    variables: ResourceVariables
    token: str = field(repr=False)
    longest_seconds: int | None = None


Wanted = tuple[Resource, ResourceVariables]
"""A resource to acquire, and its variables for the job."""


@dataclass(frozen=True)
class Acquirer:
    """Acquires for the step that asks, within one deadline.

    `node_variables` are those that the node sets for requests.
    """

    request: Request
    node_variables: dict[str, str] = field(repr=False)
    journal: Journal
    deadline: Deadline
    network: Network
    allows_user_endpoints: bool = True
    limits: UserLimits = NO_LIMITS
    accounting: Accounting = NO_ACCOUNTING

    def acquire_all(self, wanted: Sequence[Wanted]) -> list[Acquired | QrmiError]:
        """Acquire every resource, all at once; return each one's outcome in the same order."""
        if not wanted:
            # Then the network was not opened.
            return []
        services = self.network.services(self.deadline, self.node_variables)
        quota = Quota(self.journal, self.request.uid)
        return do_at_once(
            lambda item: self._acquire(*item, services, quota),
            wanted,
            self.deadline,
            tell=self._log_outcome,
        )

    def _log_outcome(self, item: Wanted, outcome: Acquired | QrmiError, seconds: float) -> None:
        resource, variables = item
        text = acquisition_text(
            resource.name,
            self.request.job_id,
            self.request.uid,
            is_at_users_endpoint=_has_users_endpoint(resource, variables),
        )
        if isinstance(outcome, FirstNodeError):
            log.debug("left %s to the step's first node", text)
            return
        is_acquired = isinstance(outcome, Acquired)
        count(self.journal.directory, Event.ACQUIRED if is_acquired else Event.REFUSED)
        if is_acquired:
            log.info("acquired %s in %.1f s", text, seconds)
        else:
            log.info("refused %s in %.1f s: %s", text, seconds, outcome)

    def _acquire(
        self, resource: Resource, variables: ResourceVariables, services: Services, quota: Quota
    ) -> Acquired:
        kind = CLIENTS[resource.type]
        sent_to = kind.sent_to
        may_choose = self.allows_user_endpoints and not kind.munge_credentials
        check_variables_are_few(resource, variables)
        check_values_are_text(resource, variables)
        check_names_agree(resource, variables)
        check_sites_choices(resource, variables, () if may_choose else sent_to)
        check_nothing_is_raised(resource, variables, kind.lowered_by_users)
        check_credentials_stay_home(resource, variables, sent_to)
        settings = Settings(
            *(resource.name, variables.values, _remaining_seconds(self.request)),
            has_sites_login=has_sites_login(variables, sent_to),
            uid=self.request.uid,
            job_id=self.request.job_id,
        )
        calls = _calls_of(resource, settings, services)
        hold = calls.hold
        if hold is not None and self.request.node_index > 0:
            raise FirstNodeError(f"{hold.what} is for the step's first node alone")
        whose = (self.request.uid, self.journal, self.deadline)
        with self.limits.admit(*whose, is_held=hold is not None):
            check = begin(lambda: _access_error(calls))
            entry = None if hold is None else self._entry(resource, variables, settings, hold)
            locked = None if entry is None else self.journal.begin(entry)
        if hold is None or locked is None:
            asked_at = int(time.time())
            token = _acquire_unrecorded(calls, check)
            self._begin_note(resource, asked_at)
            return Acquired(resource, variables, token)
        with locked:
            _check_quota(quota, locked)
            token = _Acquisition(calls, hold, locked, check, self.accounting).acquire()
        return Acquired(resource, variables, token, hold.longest_seconds)

    def _begin_note(self, resource: Resource, asked_at: int) -> None:
        """Note what the job has now, though nothing is held, so that its end leaves a record.

        The note has no token, which might be that of a session that the user brought.
        """
        if not self.accounting.is_on:
            return
        request, now = self.request, int(time.time())
        note = Entry(
            *(request.job_id, request.restart_count, request.step_id, request.uid),
            *(resource.name, resource.type, {}),
            acquired_at=asked_at,
            owner=owner_of(request.stepd_pid),
            hold="nothing",
            # Whoever knows no notes finds one that has ended.
            ends_at=asked_at,
            facts=_facts_of(request),
            granted_at=now,
            holds_nothing=True,
        )
        try:
            with self.journal.begin(note, outlasts_crash=False):
                pass
        except JournalError as error:
            log.warning("what the job uses of %s is not recorded: %s", resource.name, error)

    def _entry(
        self, resource: Resource, variables: ResourceVariables, settings: Settings, hold: Hold
    ) -> Entry:
        now = time.time()
        kept = values_for_release(resource.type, settings.values)
        answered_at = now + self.deadline.remaining_seconds() + LATE_RESPONSE_SECONDS
        return Entry(
            self.request.job_id,
            self.request.restart_count,
            self.request.step_id,
            self.request.uid,
            resource.name,
            resource.type,
            kept,
            acquired_at=int(now),
            owner=owner_of(self.request.stepd_pid),
            node_variables=self.node_variables,
            hold=hold.what,
            ends_at=_end_of(hold, answered_at),
            secret_keys=sorted(resource.secret_files.keys() & kept),
            has_users_endpoint=_has_users_endpoint(resource, variables),
            has_sites_login=settings.has_sites_login,
            facts=_facts_of(self.request),
        )


def _facts_of(request: Request) -> dict[str, str]:
    """Return what Slurm has told of the job and its record is to say."""
    told = {
        "user": request.user,
        "account": request.account,
        "partition": request.partition,
        "restarts": request.restarts,
        "array_job_id": request.array_job_id,
        "array_task_id": request.array_task_id,
        "het_job_id": request.het_job_id,
        "het_job_offset": request.het_job_offset,
    }
    # What is no text must not keep an acquisition from being recorded.
    texts = {name: str(value) for name, value in told.items() if value not in {None, ""}}
    return {name: text.encode(errors="replace").decode() for name, text in texts.items()}


def _calls_of(resource: Resource, settings: Settings, services: Services) -> ResourceCalls:
    """Return what asks about a resource; where its settings are no use, tell what none reads."""
    try:
        return services.resource_calls(resource.type, settings)
    except AcquisitionError as error:
        unread = unread_text(resource.type, settings.values)
        raise AcquisitionError(f"{error}; {unread}" if unread else str(error)) from error


def _has_users_endpoint(resource: Resource, variables: ResourceVariables) -> bool:
    return any(map(variables.is_users, CLIENTS[resource.type].sent_to))


def _end_of(hold: Hold, began_at: float) -> int | None:
    """Return when what is held has ended by itself, None if that may be never."""
    return None if hold.longest_seconds is None else math.ceil(began_at + hold.longest_seconds)


def _check_quota(quota: Quota, locked: LockedEntry) -> None:
    try:
        quota.check()
    except QrmiError:
        locked.remove()
        raise


def _remaining_seconds(request: Request) -> int | None:
    """Return what is left of the job's time limit, None for a job without one."""
    if request.time_limit_minutes is None:
        return None
    elapsed_seconds = max(0, int(time.time()) - request.start_time) if request.start_time else 0
    return max(0, request.time_limit_minutes * 60 - elapsed_seconds)


AccessCheck = Callable[[], QrmiError | None]
"""Waits for the end of a check; returns why the resource is not accessible, None if it is."""


def _access_error(calls: ResourceCalls) -> QrmiError | None:
    try:
        calls.check_accessible()
    except QrmiError as error:
        return error
    return None


def _acquire_unrecorded(calls: ResourceCalls, check: AccessCheck) -> str:
    """Return the token of what nobody needs to release."""
    try:
        token = calls.acquire()
    except QrmiError as error:
        raise _more_telling(check(), error) from error
    reason = check()
    if reason is not None:
        raise reason
    return token


def _more_telling(reason: QrmiError | None, error: QrmiError) -> QrmiError:
    return reason if isinstance(reason, AcquisitionError) else error


@dataclass(frozen=True)
class _Acquisition:
    """The life of one acquisition, with a method for each row of the table that holds nothing.

    These return the error for the user, but `_forget`, beside which there is one.
    """

    calls: ResourceCalls
    hold: Hold
    locked: LockedEntry
    check: AccessCheck
    accounting: Accounting = NO_ACCOUNTING

    def acquire(self) -> str:
        """Return the token once it is in the journal; leave nothing behind that is not there."""
        try:
            token = self.calls.acquire()
        except QrmiError as error:
            raise self._end_without_usable_token(error) from error
        try:
            self._write(token)
        except JournalError as error:
            raise self._release_unrecorded(error, token) from error
        reason = self.check()
        if reason is not None:
            raise self._release_refused(reason, token)
        return token

    def _end_without_usable_token(self, error: QrmiError) -> QrmiError:
        if not (isinstance(error, ServiceError) and error.may_have_acted):
            self._forget()
            # Nothing was held, and no job had it: that leaves no record.
            return _more_telling(self.check(), error)
        if error.token is None:
            return self._note_unanswered(_more_telling(self.check(), error))
        # The check may take long, and nobody else knows the token.
        try:
            self._write(error.token)
        except JournalError as unrecorded:
            return self._release_unrecorded(unrecorded, error.token)
        return self._release_unusable(_more_telling(self.check(), error), error.token)

    def _release_refused(self, reason: QrmiError, token: str) -> QrmiError:
        """Release what the journal has; if that fails, there is more to tell."""
        self._note_refusal(reason)
        try:
            is_gone = self.calls.release(token)
        except QrmiError as failure:
            with contextlib.suppress(JournalError):
                self.locked.write(self.locked.entry)
            return ServiceError(
                f"{reason}; it has opened {self.hold.what}, whose release failed and is tried "
                f"again when the job ends: {failure}"
            )
        self._end(is_gone=is_gone)
        return reason

    def _release_unusable(self, error: QrmiError, token: str) -> QrmiError:
        """Release what a response has opened that is of no other use."""
        outcome = self._release_refused(error, token)
        if outcome is not error:
            return outcome
        return ServiceError(f"{error}; it has opened {self.hold.what}, which was released")

    def _release_unrecorded(self, error: JournalError, token: str) -> QrmiError:
        try:
            self.calls.release(token)
        except QrmiError as reason:
            failure = ServiceError(f"{error}; {reason}")
            try:
                # Meanwhile the disk may have room, and the job's end can try again.
                self._write(token)
            except JournalError:
                return self._note_unanswered(failure)
            return failure
        # Its entry has no token, by which it could be asked for again.
        self.locked.entry = replace(self.locked.entry, token=token)
        self._note_refusal(error)
        self._end(is_gone=True)
        return error

    def _note_unanswered(self, error: QrmiError) -> ServiceError:
        """Write down what cannot be undone."""
        now = time.time()
        entry = replace(self.locked.entry, ends_at=_end_of(self.hold, now))
        message = f"{error}; {entry.may_be_open_text}"
        # Without it, the job's end tells the same once more.
        with contextlib.suppress(JournalError):
            self.locked.write(entry.with_failure(message, now))
        return ServiceError(message, may_have_acted=True)

    def _note_refusal(self, reason: QrmiError) -> None:
        entry = self.locked.entry
        self.locked.entry = replace(entry, refusal=entry.clear(str(reason))[:_LONGEST_REASON])

    def _end(self, *, is_gone: bool) -> None:
        """End an entry of what was given back; the user reads another error."""
        with _log_instead():
            self.accounting.end(self.locked, Result.REFUSED, is_gone=is_gone)

    def _forget(self) -> None:
        """Take away an entry of which nothing was ever held; the user reads another error."""
        with _log_instead():
            self.locked.remove()

    def _write(self, token: str) -> None:
        now = int(time.time())
        self.locked.write(replace(self.locked.entry, token=token, granted_at=now))


@contextlib.contextmanager
def _log_instead() -> Iterator[None]:
    """Log trouble with the journal, beside which there is other trouble to tell."""
    try:
        yield
    except JournalError as error:
        log.error("%s", error)
