# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network process can be asked: both ends of each call, and the table between them.

This is the seam: the worker decides as root, and asks nothing; a process without root asks. A call
is about a resource, or the service of qrun's jobs, of which the worker tells once; both processes
make the same client of the same settings.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.base import Client, Exchange, Hold, Settings
from spank_qrmi.clients.qrun_service import quantum_system_from
from spank_qrmi.clients.quantum_system import QuantumSystem
from spank_qrmi.errors import ProtocolError, ServiceError
from spank_qrmi.network.messages import (
    NONSENSE,
    clock_fields,
    clock_from_fields,
    parse_acquisition_token,
    status_fields,
    status_from_fields,
    usage_fields,
    usage_from_fields,
)
from spank_qrmi.status import QpuStatus
from spank_qrmi.usage import Usage

Subject = Client | QuantumSystem

QUANTUM_SYSTEM = "IBMQRUN"
"""In place of a resource's type: the settings are `IBMQRUN_*` variables."""


def subject_of(kind: str, settings: Settings) -> Subject:
    """Return what calls are about; raise QrmiError if the settings cannot be used."""
    if kind == QUANTUM_SYSTEM:
        return quantum_system_from(settings.values)
    return CLIENTS[kind](settings)


class Call(str, Enum):
    """What can be asked: each has a line in `CALLS` and a method of the worker's end."""

    LOG_IN = "log in"
    CHECK = "check"
    STATUS = "status"
    ACQUIRE = "acquire"
    RELEASE = "release"
    USAGE = "usage"
    REMOVE = "remove"
    LIST = "list"
    CLOCK = "clock"


def _log_in(exchange: Exchange, subject: Subject) -> None:
    if subject.login is not None:
        exchange.tokens.token(subject.login)


CALLS: Mapping[Call, Callable[..., list[str] | None]] = {
    Call.LOG_IN: _log_in,
    Call.CHECK: lambda exchange, client: client.check_accessible(exchange),
    Call.STATUS: lambda exchange, client: status_fields(client.full_status(exchange)),
    Call.ACQUIRE: lambda exchange, client: [client.acquire(exchange)],
    Call.RELEASE: lambda exchange, client, token, was_told: (
        ["1"] if client.release(exchange, token, was_told=was_told == "1") else []
    ),
    Call.USAGE: lambda exchange, client, token: usage_fields(client.usage(exchange, token)),
    Call.REMOVE: lambda exchange, system, job_id: ["1"] if system.remove(exchange, job_id) else [],
    Call.LIST: lambda exchange, system, share: sorted(system.job_ids(exchange, float(share))),
    # Told by what was asked before: this asks nothing.
    Call.CLOCK: lambda exchange, _: clock_fields(dict(exchange.http.clock_offsets)),
}
"""What each call does with what it is about and its fields; gives the fields of the result."""

Ask = Callable[..., list[str]]
"""Has a `Call` made, given its fields; gives those of the result, raises the service's error."""


@dataclass(frozen=True)
class ResourceCalls:
    """The worker's end of calls about a resource, with the errors of `Client`.

    What it holds, and whether usage is told, follow from type and settings alone: the network
    process has no say in that.
    """

    hold: Hold | None
    ask: Ask = field(repr=False)
    tells_usage: bool = False

    def clock_offsets(self) -> dict[str, int]:
        """Return for each service that has answered by how many seconds our clock is ahead."""
        try:
            return clock_from_fields(self.ask(Call.CLOCK))
        except ProtocolError:
            raise ServiceError(NONSENSE) from None

    def check_accessible(self) -> None:
        """Ask whether jobs can run there now."""
        self.ask(Call.CHECK)

    def full_status(self) -> QpuStatus:
        """Return all that the service tells of the resource, without taking it."""
        try:
            return status_from_fields(self.ask(Call.STATUS))
        except ProtocolError:
            raise ServiceError(NONSENSE) from None

    def acquire(self) -> str:
        """Take the resource; return the acquisition token."""
        result = self.ask(Call.ACQUIRE)
        try:
            [token] = result
            return parse_acquisition_token(token)
        except (ValueError, ProtocolError):
            raise ServiceError(NONSENSE, may_have_acted=True) from None

    def release(self, token: str, *, was_told: bool = False) -> bool:
        """Give back what `acquire` took; return whether the service says that it is gone."""
        return self.ask(Call.RELEASE, token, "1" if was_told else "") == ["1"]

    def usage(self, token: str) -> Usage:
        """Return what was used of what is gone, as the service counts it."""
        try:
            return usage_from_fields(self.ask(Call.USAGE, token))
        except ProtocolError:
            raise ServiceError(NONSENSE) from None


@dataclass(frozen=True)
class QuantumJobs:
    """The worker's end of calls about the jobs of a `QuantumSystem`, with its errors."""

    ask: Ask = field(repr=False)

    def remove(self, job_id: str) -> bool:
        """Cancel and delete a job; return whether there was one."""
        return self.ask(Call.REMOVE, job_id) == ["1"]

    def job_ids(self, share: float = 1.0) -> frozenset[str]:
        """Return the ids of all jobs."""
        return frozenset(self.ask(Call.LIST, str(share)))


class Services(Protocol):
    """The services as one piece of work asks them: one deadline, shared tokens."""

    def resource_calls(self, resource_type: str, settings: Settings) -> ResourceCalls:
        """Return what asks about a resource; raises QrmiError if its settings cannot be used."""
        client = CLIENTS[resource_type](settings)
        ask = self.ask_about(client, resource_type, settings)
        return ResourceCalls(client.hold, ask, client.tells_usage)

    def quantum_jobs(self, values: Mapping[str, str]) -> QuantumJobs:
        """Return what asks about the jobs of the service that `IBMQRUN_*` variables describe.

        They are the site's. Raises VariableError if they describe none.
        """
        settings = Settings("", values, has_sites_login=True)
        system = subject_of(QUANTUM_SYSTEM, settings)
        return QuantumJobs(self.ask_about(system, QUANTUM_SYSTEM, settings))

    @abstractmethod
    def ask_about(self, subject: Subject, kind: str, settings: Settings) -> Ask:
        """Return what asks about a client of this kind and with these settings; asks nothing."""
