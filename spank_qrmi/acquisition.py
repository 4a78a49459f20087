# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking resources and giving them back, all of a job's at the same time.

The life of one acquisition: requested (in the journal, without token), acquired (with token), and
then released or failed (gone from the journal). Whatever leaves that line early leaves its journal
entry behind for the next release.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.base import Acquired, Client, Settings
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.iam import TokenSource
from spank_qrmi.config import Resource
from spank_qrmi.deadline import Deadline
from spank_qrmi.environment import (
    ResourceEnvironment,
    check_credentials_stay_home,
    check_values_are_text,
)
from spank_qrmi.errors import AcquisitionError, JournalError, QrmiError, ReleaseError, ServiceError
from spank_qrmi.journal import Entry, Journal
from spank_qrmi.redaction import error_place

UNDO_SECONDS = 3.0
"""How long giving back may take when an acquisition did not come to its end."""

# Requests end at the deadline by themselves; on a cancellation, an answer that is still under way
# tells what must be given back.
_GRACE_SECONDS = 1.0
_CANCEL_GRACE_SECONDS = 6.0
_CANCEL_CHECK_SECONDS = 0.1

_log = logging.getLogger(__name__)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Holder:
    """The step that acquires, as Slurm names it; `remaining_seconds` None: no time limit."""

    job_id: int
    restart_count: int
    step_id: int
    uid: int
    remaining_seconds: int | None = None


@dataclass(frozen=True)
class Held:
    """A resource that the step may use now; `token` is its acquisition token."""

    resource: Resource
    environment: ResourceEnvironment
    token: str = field(repr=False)
    must_release: bool


class Acquirer:
    """Acquires and releases for one step within one deadline."""

    def __init__(
        self,
        holder: Holder,
        journal: Journal,
        deadline: Deadline,
        http_client: Callable[[Deadline], HttpClient] = HttpClient,
    ) -> None:
        self._holder = holder
        self._journal = journal
        self._deadline = deadline
        self._http_client = http_client

    def acquire_all(
        self, wanted: Sequence[tuple[Resource, ResourceEnvironment]]
    ) -> list[Held | QrmiError]:
        """Acquire every resource, all at once; return each one's outcome in the same order."""
        with self._http_client(self._deadline) as http:
            tokens = TokenSource(http)

            def work(item: tuple[Resource, ResourceEnvironment]) -> Held:
                return self._acquire(*item, http, tokens)

            return _at_once(work, wanted, self._deadline)

    def release_all(self, entries: Sequence[Entry]) -> list[QrmiError]:
        """Release what the entries hold, all at once; return what went wrong."""
        with self._http_client(self._deadline) as http:
            tokens = TokenSource(http)

            def work(entry: Entry) -> None:
                self._release(entry, http, tokens)

            outcomes = _at_once(work, entries, self._deadline)
        return [
            ReleaseError(f"{entry.resource_name}: {error}")
            for entry, error in zip(entries, outcomes, strict=True)
            if isinstance(error, QrmiError)
        ]

    def entries(self) -> list[Entry]:
        """Return what the journal says the step holds; log what cannot be read."""
        entries = []
        for entry in self._journal.entries_of_step(
            self._holder.job_id, self._holder.restart_count, self._holder.step_id
        ):
            if isinstance(entry, JournalError):
                _log.error("%s", entry)
            else:
                entries.append(entry)
        return entries

    def _acquire(
        self,
        resource: Resource,
        environment: ResourceEnvironment,
        http: HttpClient,
        tokens: TokenSource,
    ) -> Held:
        client_class = CLIENTS[resource.type]
        check_values_are_text(resource, environment)
        check_credentials_stay_home(resource, environment, client_class.sent_to)
        settings = Settings(resource.name, environment.values, self._holder.remaining_seconds)
        client = client_class(settings, http, tokens)
        client.check_accessible()
        entry = Entry(
            self._holder.job_id,
            self._holder.restart_count,
            self._holder.step_id,
            self._holder.uid,
            resource.name,
            resource.type,
            environment.values,
        )
        acquired = self._acquire_recorded(client, entry)
        return Held(resource, environment, acquired.token, acquired.must_release)

    def _acquire_recorded(self, client: Client, entry: Entry) -> Acquired:
        self._journal.write(entry)
        try:
            acquired = client.acquire()
        except QrmiError as error:
            if not (isinstance(error, ServiceError) and error.may_have_acted):
                self._journal.remove(entry)
            raise
        if not acquired.must_release:
            self._journal.remove(entry)
            return acquired
        try:
            self._journal.write(replace(entry, token=acquired.token))
        except JournalError:
            client.release(acquired.token)
            with contextlib.suppress(JournalError):
                self._journal.remove(entry)
            raise
        return acquired

    def _release(self, entry: Entry, http: HttpClient, tokens: TokenSource) -> None:
        client_class = CLIENTS.get(entry.resource_type)
        if client_class is None:
            message = f"{entry.resource_type} is no resource type that this version knows"
            raise ReleaseError(message)
        if entry.token is None:
            self._journal.remove(entry)
            raise ReleaseError(
                "the service never answered the request to acquire: what it may have opened ends "
                "by its own time limit"
            )
        client_class(Settings(entry.resource_name, entry.values), http, tokens).release(entry.token)
        self._journal.remove(entry)
        _log.debug("name(%s) released", entry.resource_name)


def _at_once(
    work: Callable[[_Item], _Result], items: Sequence[_Item], deadline: Deadline
) -> list[_Result | QrmiError]:
    """Do `work` for every item, each in a thread; return result or error in the items' order.

    A thread that does not come back in time is left behind: it dies with the process.
    """
    outcomes: dict[int, _Result | QrmiError] = {}
    finished = threading.Semaphore(0)

    def attempt(index: int, item: _Item) -> None:
        try:
            outcomes[index] = work(item)
        except QrmiError as error:
            outcomes[index] = error
        except Exception as error:  # noqa: BLE001 (one resource's bug must not take the others down)
            outcomes[index] = AcquisitionError(f"internal error ({type(error).__name__})")
            _log.error("internal error: %s", error_place(error))
        finally:
            finished.release()

    for index, item in enumerate(items):
        threading.Thread(target=attempt, args=(index, item), daemon=True).start()
    _wait_for(finished, len(items), deadline)
    late: QrmiError = AcquisitionError("gave no result in time")
    return [outcomes.get(index, late) for index in range(len(items))]


def _wait_for(finished: threading.Semaphore, count: int, deadline: Deadline) -> None:
    """Return once `count` threads have finished, or some grace after the deadline."""
    grace: Deadline | None = None
    for _ in range(count):
        while not finished.acquire(timeout=_CANCEL_CHECK_SECONDS):
            if grace is None and deadline.has_passed():
                is_early = deadline.is_cancelled()
                grace = Deadline(_CANCEL_GRACE_SECONDS if is_early else _GRACE_SECONDS)
            if grace is not None and grace.has_passed():
                return
