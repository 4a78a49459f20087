# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the vendors' services are asked: the seam between what decides and what uses the network.

The worker decides as root, and asks nothing; a process without root asks (`process`).
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.base import Settings
from spank_qrmi.deadline import Deadline
from spank_qrmi.network.calls import (
    QUANTUM_SYSTEM,
    Ask,
    QuantumJobs,
    ResourceCalls,
    Subject,
    subject_of,
)
from spank_qrmi.state.token_cache import TokenCache


class Services(Protocol):
    """The services as one piece of work asks them: one deadline, shared tokens."""

    def resource_calls(self, resource_type: str, settings: Settings) -> ResourceCalls:
        """Return what asks about a resource; raises QrmiError if its settings cannot be used."""
        client = CLIENTS[resource_type](settings)
        return ResourceCalls(client.hold, self.ask_about(client, resource_type, settings))

    def quantum_jobs(self, values: Mapping[str, str]) -> QuantumJobs:
        """Return what asks about the jobs of the service that `IBMQRUN_*` variables describe.

        Raises VariableError if they describe none.
        """
        settings = Settings("", values)
        system = subject_of(QUANTUM_SYSTEM, settings)
        return QuantumJobs(self.ask_about(system, QUANTUM_SYSTEM, settings))

    def ask_about(self, subject: Subject, kind: str, settings: Settings) -> Ask:
        """Return what asks about a client of this kind and with these settings; asks nothing."""


class Network(Protocol):
    """The way to the services."""

    def open(
        self,
        node_variables: Sequence[Mapping[str, str]],
        user: str,
        seconds: float,
        *,
        token_cache: TokenCache | None = None,
    ) -> None:
        """Get ready for requests with each of these sets of variables; called once, first.

        `user` is who makes them, `seconds` how long they may take altogether. `token_cache` has
        access tokens for them and takes new ones. Returns at once; raises QrmiError if it cannot
        begin.
        """

    def wait_until_open(self, deadline: Deadline) -> None:
        """Return once requests can be made; raise QrmiError that says why they cannot."""

    def services(self, deadline: Deadline, node_variables: Mapping[str, str]) -> Services:
        """Return the services for one piece of work with one of the sets of variables.

        Raises QrmiError if it was opened with others.
        """

    def end(self) -> None:
        """Ask nothing any more; returns at once."""
