# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking what each QPU of a configuration can do now: all at the same time, within one deadline.

It is asked with the site's credentials, those of the entry: what a QPU says to a user who brings
others is not known here.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace

from spank_qrmi.at_once import begin, do_at_once
from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.base import Settings
from spank_qrmi.configuration.access import AllowedIds, allowed_ids
from spank_qrmi.configuration.node_variables import check_certificates, with_file_variables
from spank_qrmi.configuration.qrmi_config import Config, Resource, load_config
from spank_qrmi.configuration.qrmi_plugstack import PluginArguments
from spank_qrmi.configuration.secret_files import read_secrets
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import AcquisitionError, NameServiceError, QrmiError
from spank_qrmi.job.environment import collect_variables
from spank_qrmi.monitor.observations import Observation
from spank_qrmi.network.calls import Services
from spank_qrmi.network.worker_side import Network
from spank_qrmi.redaction import Redactor
from spank_qrmi.state.token_cache import TokenCache
from spank_qrmi.status import QpuState, QpuStatus
from spank_qrmi.trust.files import warn_or_refuse
from spank_qrmi.trust.name_service import NameService

log = logging.getLogger(__name__)

MOST_AT_ONE_ENDPOINT = 16
"""Requests about one service's QPUs at once: one that hangs leaves threads to the others."""

_LONGEST_TEXT = 500
_NO_JOB = 0


def ask_all(
    arguments: PluginArguments, network: Network, redactor: Redactor, seconds: float
) -> list[Observation]:
    """Return what is seen of each QPU of the configuration.

    `redactor` learns all secrets. Raises ArgumentError or ConfigError if nothing can be asked.
    """
    deadline = Deadline(seconds)
    arguments = with_file_variables(arguments)
    redactor.add_variables(arguments.node_variables.items())
    check_certificates(arguments.node_variables)
    config = _read_config(arguments, redactor)
    resources = list(config.resources.values())
    tokens = TokenCache(arguments.state_directory, redactor.add)
    seconds_of: dict[str, float] = {}
    allowed = begin(lambda: _allowed_ids(resources, deadline))
    try:
        network.open(
            [arguments.node_variables],
            arguments.worker_user,
            seconds,
            token_cache=tokens,
            munge_socket=arguments.munge_socket,
        )
        network.wait_until_open(deadline)
        services = network.services(deadline, arguments.node_variables)
    except QrmiError as error:
        outcomes: list[Observation | QrmiError] = [error] * len(resources)
    else:
        outcomes = do_at_once(
            lambda each: _observe(each, arguments, services, redactor),
            resources,
            deadline,
            shares_of=lambda each: {_endpoint_of(each): MOST_AT_ONE_ENDPOINT},
            tell=lambda each, _, taken: seconds_of.update({each.name: taken}),
        )
    return [
        _with_ids(
            _shown(
                outcome if isinstance(outcome, Observation) else _unanswered(resource, outcome),
                seconds_of.get(resource.name, 0.0),
                redactor,
            ),
            allowed().get(resource.name),
        )
        for resource, outcome in zip(resources, outcomes, strict=True)
    ]


def _read_config(arguments: PluginArguments, redactor: Redactor) -> Config:
    config = load_config(arguments.config_path, CLIENTS)
    redactor.add(config.secrets())
    warn_or_refuse([*arguments.exposures, *config.exposures], is_strict=arguments.is_strict)
    for _, problem in config.problems:
        log.error("%s", problem)
    return config


def _allowed_ids(resources: Iterable[Resource], deadline: Deadline) -> dict[str, AllowedIds]:
    """Return whom QPUs let in, of those that are not for every user.

    Where this node does not know it all, nothing is told: a job's own node refuses whom it must.
    """
    names = NameService(deadline)
    found: dict[str, AllowedIds] = {}
    for resource in resources:
        try:
            allowed = allowed_ids(resource.access, names)
        except NameServiceError as error:
            log.warning("name(%s): who may use it is not published: %s", resource.name, error)
        else:
            if allowed is not None and allowed.is_complete:
                found[resource.name] = allowed
            elif allowed is not None:
                unknown = "this node does not know all of its users and groups"
                log.warning("name(%s): who may use it is not published: %s", resource.name, unknown)
    return found


def _with_ids(seen: Observation, allowed: AllowedIds | None) -> Observation:
    if allowed is None:
        return seen
    return replace(seen, uids=tuple(sorted(allowed.uids)), gids=tuple(sorted(allowed.gids)))


def _observe(
    resource: Resource, arguments: PluginArguments, services: Services, redactor: Redactor
) -> Observation:
    """Return what the service of a QPU says; raise QrmiError if it says nothing."""
    whole, exposures = read_secrets(resource, arguments.config_path)
    redactor.add(whole.secrets())
    warn_or_refuse(exposures, is_strict=arguments.is_strict)
    values = collect_variables(whole, _NO_JOB, ()).values
    try:
        calls = services.resource_calls(
            resource.type, Settings(resource.name, values, has_sites_login=True)
        )
    except AcquisitionError as error:
        status = QpuStatus(QpuState.UNKNOWN, f"is not watched, its users bring what lacks: {error}")
        return replace(_unanswered(resource, error), status=status, is_watched=False)
    try:
        status = calls.full_status()
    except AcquisitionError as error:
        return replace(_unanswered(resource, error), has_answered=True)
    return Observation(resource.name, (resource.type, *resource.also_as), status, has_answered=True)


def _unanswered(resource: Resource, error: QrmiError) -> Observation:
    status = QpuStatus(QpuState.UNKNOWN, str(error))
    types = (resource.type, *resource.also_as)
    return Observation(resource.name, types, status, has_answered=False)


def _shown(seen: Observation, seconds: float, redactor: Redactor) -> Observation:
    """Return an observation whose texts have no secret, and an end."""
    status = seen.status
    reason, calibrated_at, available_at, facts_at = (
        redactor.clear(text)[:_LONGEST_TEXT]
        for text in (status.reason, status.calibrated_at, status.available_at, status.facts_at)
    )
    return replace(
        seen,
        status=replace(
            status,
            reason=reason,
            calibrated_at=calibrated_at,
            available_at=available_at,
            facts_at=facts_at,
        ),
        seconds=seconds,
    )


def _endpoint_of(resource: Resource) -> str:
    """Return where a QPU's service is, as far as its entry says."""
    return resource.environment.get(list(CLIENTS[resource.type].sent_to)[-1], "")
