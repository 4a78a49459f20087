# SPDX-License-Identifier: GPL-3.0-or-later
"""Each QPU as a job would ask for it: by the same process, with the same rights and settings.

The key is tried anew: an access token that the node keeps would hide that it was revoked.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from spank_qrmi.at_once import do_at_once
from spank_qrmi.check.finding import Finding, doubtful, right, wrong
from spank_qrmi.check.node import Node
from spank_qrmi.check.resources import chosen_resources, site_settings
from spank_qrmi.clients import CLIENTS
from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.configuration.secret_files import read_secrets
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import QrmiError
from spank_qrmi.job.acquirer import Acquired, Acquirer
from spank_qrmi.job.environment import collect_variables
from spank_qrmi.job.releaser import Releaser
from spank_qrmi.job.step import open_network
from spank_qrmi.network.calls import ResourceCalls
from spank_qrmi.network.worker_side import Network
from spank_qrmi.protocol import Request, Verb
from spank_qrmi.redaction import Redactor
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.owner import owner_of

_DOUBTFUL_CLOCK_SECONDS = 30
_WRONG_CLOCK_SECONDS = 300
_RELEASE_SECONDS = 20
_GRACE_SECONDS = 5
_JOB_ID = 0
"""No job's."""


@dataclass(frozen=True)
class QpuChecks:
    """The QPUs of a node, asked through `network` within `seconds`."""

    node: Node
    network: Network
    redactor: Redactor
    seconds: float

    def look(self, *, acquires: bool) -> Iterator[tuple[str, Finding]]:
        """Yield what is found of each QPU and of the clock, by the name of the check.

        With `acquires`, each is taken and given back too. Raises QrmiError if nobody can ask.
        """
        deadline = Deadline(self.seconds)
        wanted = self._wanted()
        if not wanted:
            return
        arguments = self.node.arguments
        open_network(self.network, [arguments], arguments, self.redactor, deadline)
        services = self.network.services(deadline, arguments.node_variables)
        calls = {
            resource.name: services.resource_calls(resource.type, site_settings(resource))
            for resource in wanted
        }
        for finding in _at_once(lambda each: _look_at(each, calls[each.name]), wanted, deadline):
            yield "QPU", finding
        for finding in _look_at_clock(calls[wanted[0].name]):
            yield "clock", finding
        if acquires:
            both = Deadline(self.seconds + _RELEASE_SECONDS + _GRACE_SECONDS)
            for finding in _at_once(self._acquire, wanted, both):
                yield "acquisition", finding

    def _wanted(self) -> list[Resource]:
        """Return the QPUs that jobs can ask for without variables of a user's."""
        config = self.node.config
        found = []
        for resource in chosen_resources(self.node, config) if config else ():
            try:
                whole, _ = read_secrets(resource, config.path if config else "")
                self.redactor.add(whole.secrets())
                CLIENTS[whole.type](site_settings(whole))
            except QrmiError:
                # Told by the look at the file.
                continue
            found.append(whole)
        return found

    def _acquire(self, resource: Resource) -> Finding:
        """Take a QPU as a job does, and give it back; what a kill leaves is an orphan's entry."""
        arguments = self.node.arguments
        journal = Journal(arguments.state_directory)
        acquirer = Acquirer(
            *(_request(self.seconds), arguments.node_variables, journal),
            *(Deadline(self.seconds), self.network),
        )
        secrets = self.node.config.secrets() if self.node.config else []
        began_at = time.monotonic()
        [outcome] = acquirer.acquire_all([(resource, collect_variables(resource, 0, (), secrets))])
        acquired_at = time.monotonic()
        failures = self._release(journal, resource)
        released_at = time.monotonic()
        if not isinstance(outcome, Acquired):
            return wrong(
                f"{resource.name}: not acquired in {acquired_at - began_at:.1f} s: {outcome}"
            )
        if failures:
            return wrong(f"{resource.name}: not released: {failures[0]}", "spank-qrmi status")
        return right(
            f"{resource.name}: acquired in {acquired_at - began_at:.1f} s, released in "
            f"{released_at - acquired_at:.1f} s"
        )

    def _release(self, journal: Journal, resource: Resource) -> list[QrmiError]:
        ours = owner_of(os.getpid())
        entries = [
            entry
            for entry in journal.entries(_JOB_ID)
            if isinstance(entry, Entry) and entry.needs_release
            if entry.owner == ours and entry.resource_name == resource.name
        ]
        releaser = Releaser(journal, Deadline(_RELEASE_SECONDS), self.network)
        return list(filter(None, releaser.release_all(entries)))


def _request(seconds: float) -> Request:
    """Return what asks for a QPU in place of a job that ends soon, and so its session does."""
    return Request(
        *(Verb.ACQUIRE, _JOB_ID, 0, 0, os.geteuid(), math.ceil(seconds)),
        time_limit_minutes=math.ceil((seconds + _RELEASE_SECONDS) / 60) + 1,
        stepd_pid=os.getpid(),
    )


def _at_once(
    work: Callable[[Resource], Finding], wanted: Sequence[Resource], deadline: Deadline
) -> list[Finding]:
    """Return each QPU's finding; what gives none in time is wrong."""
    outcomes = do_at_once(work, wanted, deadline)
    return [
        outcome if isinstance(outcome, Finding) else wrong(f"{resource.name}: {outcome}")
        for resource, outcome in zip(wanted, outcomes, strict=True)
    ]


def _look_at(resource: Resource, calls: ResourceCalls) -> Finding:
    began_at = time.monotonic()
    try:
        status = calls.full_status()
    except QrmiError as error:
        return wrong(f"{resource.name}: {error}")
    seconds = time.monotonic() - began_at
    if status.is_online:
        return right(f"{resource.name}: answered in {seconds:.1f} s: {status.text or 'online'}")
    return doubtful(f"{resource.name}: {status.problem}")


def _look_at_clock(calls: ResourceCalls) -> list[Finding]:
    """Return what the services that have answered tell of this node's clock."""
    try:
        offsets = calls.clock_offsets()
    except QrmiError:
        return []
    findings = []
    for host, seconds in offsets.items():
        if abs(seconds) > _DOUBTFUL_CLOCK_SECONDS:
            way = "ahead of" if seconds > 0 else "behind"
            found = wrong if abs(seconds) > _WRONG_CLOCK_SECONDS else doubtful
            findings.append(
                found(
                    f"this node's clock is {abs(seconds)} s {way} that of {host}: tokens and "
                    "certificates may count as not valid",
                    "have it set by NTP: timedatectl set-ntp true, or chrony",
                )
            )
    if offsets and not findings:
        findings.append(right(f"as the services have it, to {_DOUBTFUL_CLOCK_SECONDS} s"))
    return findings
