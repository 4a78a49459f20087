# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the vendors' services are asked: the seam between what decides and what uses the network.

The worker decides as root; a process without root asks (`process`). Here is what both ends
of that have in common, and the way to ask from the same process, for tests.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.base import Client, Settings
from spank_qrmi.clients.iam import TokenSource
from spank_qrmi.deadline import Deadline
from spank_qrmi.light.type_hints import TYPE_CHECKING, Protocol
from spank_qrmi.trust.worker_user import DEFAULT_WORKER_USER, WorkerUser

if TYPE_CHECKING:
    from spank_qrmi.clients.http import HttpClient
    from spank_qrmi.state.token_cache import TokenCache


class QuantumJobs(Protocol):
    """The jobs of one instance of Direct Access, see `QuantumSystem`."""

    def remove(self, job_id: str) -> bool:
        """Cancel and delete a job; return whether there was one. Raises ServiceError."""

    def job_ids(self, share: float = 1.0) -> frozenset[str]:
        """Return the ids of all jobs. Raises ServiceError."""


class Services(AbstractContextManager["Services", None], Protocol):
    """The services as one piece of work asks them: one deadline, shared tokens."""

    def client(self, resource_type: str, settings: Settings) -> Client:
        """Return a resource's client; raises QrmiError if it cannot be made. Asks nothing."""

    def quantum_jobs(self, values: Mapping[str, str]) -> QuantumJobs:
        """Return the jobs of the service that `IBMQRUN_*` variables describe.

        Raises VariableError if they describe none.
        """


class Network(Protocol):
    """The way to the services."""

    def prepare(self) -> None:
        """Begin with what takes long before requests can be made; returns at once."""

    def open(
        self,
        environments: Sequence[Mapping[str, str]],
        user: WorkerUser,
        seconds: float,
        *,
        is_tls_needed: bool = True,
        token_cache: "TokenCache | None" = None,
    ) -> None:
        """Get ready for requests with each of these sets of variables; called once, first.

        `user` is who makes them, `seconds` how long they may take altogether; see `needs_tls` for
        `is_tls_needed`. `token_cache` has access tokens for them and takes new ones. Returns at
        once; raises QrmiError if it cannot begin.
        """

    def wait_until_open(self, deadline: Deadline) -> None:
        """Return once requests can be made; raise QrmiError that says why they cannot."""

    def services(self, deadline: Deadline, environment: Mapping[str, str]) -> Services:
        """Return the services for one piece of work with one of the sets of variables."""

    def end(self) -> None:
        """Ask nothing any more; returns at once."""

    def close(self) -> None:
        """Leave nothing behind."""


class LocalNetwork:
    """Asks from this process, with its rights."""

    def prepare(self) -> None:
        """Do nothing: what takes long is done when it is needed."""

    def open(
        self,
        environments: Sequence[Mapping[str, str]],
        user: WorkerUser = DEFAULT_WORKER_USER,
        seconds: float = 0.0,
        *,
        is_tls_needed: bool = True,
        token_cache: "TokenCache | None" = None,
    ) -> None:
        """Do nothing: clients are opened when they are needed, and fetch their own tokens."""

    def wait_until_open(self, deadline: Deadline) -> None:
        """Return at once."""

    def services(self, deadline: Deadline, environment: Mapping[str, str]) -> Services:
        """Return the services for one piece of work."""
        # Only here, where it is needed: a worker leaves it to its network process.
        from spank_qrmi.clients.http import HttpClient  # noqa: PLC0415 (see above)

        return LocalServices(HttpClient(deadline), environment)

    def end(self) -> None:
        """Do nothing: the services close what they opened."""

    def close(self) -> None:
        """Do nothing: the services close what they opened."""


class LocalServices(Services):
    """The services behind one HTTP client, which is opened with `environment` when first needed.

    None as `environment`: the client is open.
    """

    def __init__(
        self,
        http: "HttpClient",
        environment: Mapping[str, str] | None,
        tokens: TokenSource | None = None,
    ) -> None:
        self._http = http
        self._tokens = tokens or TokenSource(http)
        self._environment = environment
        self._opening = threading.Lock()

    def __exit__(self, *reason: object) -> None:
        self._http.__exit__(*reason)

    def client(self, resource_type: str, settings: Settings) -> Client:
        """Return a resource's client; raises QrmiError if it cannot be made."""
        return CLIENTS[resource_type](settings, self._opened(), self._tokens)

    def quantum_jobs(self, values: Mapping[str, str]) -> QuantumJobs:
        """Return the jobs of the service; raises VariableError if there is none."""
        from spank_qrmi.qrun.service import quantum_system_from  # noqa: PLC0415 (for qrun only)

        return quantum_system_from(values, self._opened(), self._tokens)

    def _opened(self) -> "HttpClient":
        with self._opening:
            if self._environment is not None:
                self._http.open_with(self._environment)
                self._environment = None
            return self._http
