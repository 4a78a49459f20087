# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking resources for a step, all of them at the same time.

Whether a resource is accessible is asked while it is being acquired: what was acquired of one that
is not is given back at once.

The life of one acquisition: requested (in the journal, without token), acquired (with token), and
then released or failed (gone from the journal). Whatever leaves that line early leaves its journal
entry behind for the next release. What the service does not hold needs no entry.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from spank_qrmi.at_once import begin, do_at_once
from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.base import Hold, Settings
from spank_qrmi.clients.http import LATE_RESPONSE_SECONDS
from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import AcquisitionError, JournalError, QrmiError, ServiceError
from spank_qrmi.job.environment import (
    ResourceEnvironment,
    check_credentials_stay_home,
    check_values_are_text,
)
from spank_qrmi.network.calls import ResourceCalls
from spank_qrmi.network.services import Network, Services
from spank_qrmi.state.journal import Entry, Journal, LockedEntry
from spank_qrmi.state.owner import Owner

log = logging.getLogger(__name__)


UNDO_SECONDS = 3.0
"""How long giving back may take when an acquisition did not come to its end."""


@dataclass(frozen=True)
class Holder:
    """The step that acquires, as Slurm names it; `remaining_seconds` None: no time limit.

    `owner` is its slurmstepd, `environment` what the node sets for requests.
    """

    job_id: int
    restart_count: int
    step_id: int
    uid: int
    remaining_seconds: int | None = None
    owner: Owner | None = None
    environment: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Held:
    """A resource that the step may use now; `token` is its acquisition token."""

    resource: Resource
    environment: ResourceEnvironment
    token: str = field(repr=False)


Wanted = tuple[Resource, ResourceEnvironment]
"""A resource to acquire, and its variables for the job."""


class Acquirer:
    """Acquires for one step within one deadline."""

    def __init__(
        self, holder: Holder, journal: Journal, deadline: Deadline, network: Network
    ) -> None:
        self._holder = holder
        self._journal = journal
        self._deadline = deadline
        self._network = network

    def acquire_all(self, wanted: Sequence[Wanted]) -> list[Held | QrmiError]:
        """Acquire every resource, all at once; return each one's outcome in the same order."""
        with self._network.services(self._deadline, self._holder.environment) as services:

            def work(item: Wanted) -> Held:
                return self._acquire(*item, services)

            return do_at_once(work, wanted, self._deadline)

    def _acquire(
        self, resource: Resource, environment: ResourceEnvironment, services: Services
    ) -> Held:
        check_values_are_text(resource, environment)
        check_credentials_stay_home(resource, environment, CLIENTS[resource.type].sent_to)
        settings = Settings(resource.name, environment.values, self._holder.remaining_seconds)
        calls = services.resource_calls(resource.type, settings)
        check = begin(lambda: _access_error(calls))
        if calls.hold is None:
            token = _acquire_unrecorded(calls, check)
        else:
            with self._journal.begin(self._entry(resource, environment, calls.hold)) as locked:
                token = _acquire_recorded(calls, calls.hold, locked, check)
        return Held(resource, environment, token)

    def _entry(self, resource: Resource, environment: ResourceEnvironment, hold: Hold) -> Entry:
        now = time.time()
        response_seconds = self._deadline.remaining_seconds() + LATE_RESPONSE_SECONDS
        return Entry(
            self._holder.job_id,
            self._holder.restart_count,
            self._holder.step_id,
            self._holder.uid,
            resource.name,
            resource.type,
            environment.values,
            acquired_at=int(now),
            owner=self._holder.owner,
            environment=self._holder.environment,
            hold=hold.what,
            ends_at=math.ceil(now + response_seconds + hold.longest_seconds),
            secret_keys=sorted(resource.secret_files),
        )


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


def _acquire_recorded(
    calls: ResourceCalls, hold: Hold, locked: LockedEntry, check: AccessCheck
) -> str:
    """Return the token once it is in the journal; leave nothing behind that is not there."""
    try:
        token = calls.acquire()
    except QrmiError as error:
        raise _not_acquired(calls, hold, locked, error, check) from error
    try:
        locked.write(replace(locked.entry, token=token))
    except JournalError as error:
        raise _unrecorded(calls, locked, hold, error, token) from error
    reason = check()
    if reason is not None:
        raise _given_back(calls, locked, reason, token)
    return token


def _not_acquired(
    calls: ResourceCalls, hold: Hold, locked: LockedEntry, error: QrmiError, check: AccessCheck
) -> QrmiError:
    """Leave in the journal what may be held nevertheless; return the error for the user."""
    if not (isinstance(error, ServiceError) and error.may_have_acted):
        _forget(locked)
        return _more_telling(check(), error)
    if error.token is None:
        return _noted_as_unanswered(locked, hold, _more_telling(check(), error))
    # The check may take long, and nobody else knows the token.
    with contextlib.suppress(JournalError):
        locked.write(replace(locked.entry, token=error.token))
    return _undone(calls, locked, _more_telling(check(), error), error.token)


def _more_telling(reason: QrmiError | None, error: QrmiError) -> QrmiError:
    """Return of two errors the one that says more: that nothing runs there now explains all."""
    return reason if isinstance(reason, AcquisitionError) else error


def _unrecorded(
    calls: ResourceCalls, locked: LockedEntry, hold: Hold, error: JournalError, token: str
) -> QrmiError:
    """Release what the journal has not taken; return the error for the user."""
    try:
        calls.release(token)
    except QrmiError as reason:
        failure = ServiceError(f"{error}; {reason}")
        try:
            # Meanwhile the disk may have room, and the job's end can try again.
            locked.write(replace(locked.entry, token=token))
        except JournalError:
            return _noted_as_unanswered(locked, hold, failure)
        return failure
    _forget(locked)
    return error


def _noted_as_unanswered(locked: LockedEntry, hold: Hold, error: QrmiError) -> ServiceError:
    """Write down what cannot be undone; return the error that tells it the user."""
    now = time.time()
    entry = replace(locked.entry, ends_at=math.ceil(now + hold.longest_seconds))
    message = f"{error}; {entry.may_be_open_text}"
    # Without it, the job's end tells the same once more.
    with contextlib.suppress(JournalError):
        noted = replace(entry, failure=entry.clear(message), failed_at=int(now), failures=1)
        locked.write(noted)
    return ServiceError(message, may_have_acted=True)


def _undone(calls: ResourceCalls, locked: LockedEntry, error: QrmiError, token: str) -> QrmiError:
    """Release what a response has opened that is of no other use; return the error for the user."""
    outcome = _given_back(calls, locked, error, token)
    if outcome is not error:
        return outcome
    return ServiceError(f"{error}; it has opened {locked.entry.hold}, which was released")


def _given_back(
    calls: ResourceCalls, locked: LockedEntry, error: QrmiError, token: str
) -> QrmiError:
    """Release what the journal has; return the error, with more to tell if that failed."""
    try:
        calls.release(token)
    except QrmiError as reason:
        return ServiceError(
            f"{error}; it has opened {locked.entry.hold}, whose release failed and is tried again "
            f"when the job ends: {reason}"
        )
    _forget(locked)
    return error


def _forget(locked: LockedEntry) -> None:
    """Take away an entry of which nothing is held; if that fails, the user has another error."""
    try:
        locked.remove()
    except JournalError as error:
        log.error("%s", error)
