# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network process can be asked: both ends of each call, and the table between them.

A call is about a resource, or the service of qrun's jobs, of which the worker tells once; both
processes make the same client of the same settings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.base import Client, Exchange, Hold, Settings
from spank_qrmi.clients.quantum_system import QuantumSystem
from spank_qrmi.errors import ProtocolError, ServiceError
from spank_qrmi.network.messages import NONSENSE, checked_token, fields_to_pairs, pairs_to_fields
from spank_qrmi.qrun.service import quantum_system_from

Asked = Client | QuantumSystem

_QUANTUM_SYSTEM = "IBMQRUN"


class Call(str, Enum):
    """What can be asked, with the fields that follow, and those of the result.

    LOG_IN none: none. CHECK none: none. ACQUIRE none: token. RELEASE token: none. REMOVE job's id:
    "1" if there was one. LIST share: the ids.
    """

    LOG_IN = "log in"
    CHECK = "check"
    ACQUIRE = "acquire"
    RELEASE = "release"
    REMOVE = "remove"
    LIST = "list"


Ask = Callable[..., list[str]]
"""Has a `Call` made, given its fields; returns those of the result, raises the service's error."""


@dataclass(frozen=True)
class ResourceCalls:
    """The worker's end of calls about a resource, with the errors of `Client`.

    What it holds follows from its settings alone: the network process has no say in that.
    """

    hold: Hold | None
    ask: Ask = field(repr=False)

    def check_accessible(self) -> None:
        """Ask whether jobs can run there now."""
        self.ask(Call.CHECK)

    def acquire(self) -> str:
        """Take the resource; return the acquisition token."""
        result = self.ask(Call.ACQUIRE)
        try:
            [token] = result
            return checked_token(token)
        except (ValueError, ProtocolError):
            raise ServiceError(NONSENSE, may_have_acted=True) from None

    def release(self, token: str) -> None:
        """Give back what `acquire` took."""
        self.ask(Call.RELEASE, token)


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


def _log_in(exchange: Exchange, asked: Asked) -> list[str]:
    if asked.login is not None:
        exchange.tokens.token(asked.login)
    return []


def _check(exchange: Exchange, client: Client) -> list[str]:
    client.check_accessible(exchange)
    return []


def _acquire(exchange: Exchange, client: Client) -> list[str]:
    return [client.acquire(exchange)]


def _release(exchange: Exchange, client: Client, token: str) -> list[str]:
    client.release(exchange, token)
    return []


def _remove(exchange: Exchange, system: QuantumSystem, job_id: str) -> list[str]:
    return ["1"] if system.remove(exchange, job_id) else [""]


def _list(exchange: Exchange, system: QuantumSystem, share: str) -> list[str]:
    return sorted(system.job_ids(exchange, float(share)))


CALLS: Mapping[Call, Callable[..., list[str]]] = {
    Call.LOG_IN: _log_in,
    Call.CHECK: _check,
    Call.ACQUIRE: _acquire,
    Call.RELEASE: _release,
    Call.REMOVE: _remove,
    Call.LIST: _list,
}
"""Each call with what is done for it, given the exchange, what is asked for, and the call's fields;
raises QrmiError."""


def fields_of_resource(resource_type: str, settings: Settings) -> list[str]:
    """Return what `asked_from_fields` makes the resource's client of."""
    remaining = settings.remaining_seconds
    seconds = "" if remaining is None else str(remaining)
    return [resource_type, settings.resource_name, seconds, *pairs_to_fields(settings.values)]


def fields_of_quantum_system(values: Mapping[str, str]) -> list[str]:
    """Return what `asked_from_fields` makes the service of `IBMQRUN_*` variables of."""
    return [_QUANTUM_SYSTEM, "", "", *pairs_to_fields(values)]


def asked_from_fields(kind: str, name: str, remaining_seconds: str, *variables: str) -> Asked:
    """Return what such fields describe; raise QrmiError if its settings cannot be used."""
    values = fields_to_pairs(variables)
    if kind == _QUANTUM_SYSTEM:
        return quantum_system_from(values)
    seconds = int(remaining_seconds) if remaining_seconds else None
    return CLIENTS[kind](Settings(name, values, seconds))
