# SPDX-License-Identifier: GPL-3.0-or-later
"""What the worker does for each verb of a request: the story of a job's QPUs, told in order."""

import logging
import os
import time
from collections.abc import Sequence

from spank_qrmi.acquisition import UNDO_SECONDS, Acquirer, Held, Holder
from spank_qrmi.answer import AnswerWriter
from spank_qrmi.clients import CLIENTS, type_number
from spank_qrmi.config import Config, load_config
from spank_qrmi.deadline import Deadline
from spank_qrmi.environment import (
    common_variables,
    job_timeout_seconds,
    list_variables,
    resource_environment,
    resource_variables,
)
from spank_qrmi.errors import ArgumentError, ConfigError, QrmiError
from spank_qrmi.journal import Journal
from spank_qrmi.plugstack import PluginArguments, parse_arguments
from spank_qrmi.protocol import Request, Verdict
from spank_qrmi.redaction import shown_argument, shown_value
from spank_qrmi.resolution import Resolution, resolve_qpus, split_names

_log = logging.getLogger(__name__)


def acquire(request: Request, deadline: Deadline, answer: AnswerWriter) -> None:
    """Acquire what `--qpu` asks for; answer with the job's variables, messages and the verdict."""
    answer.redactor.add_variables(request.variables)
    try:
        arguments = _read_arguments(request, answer)
    except ArgumentError as error:
        answer.message(f"--qpu: {error}")
        _answer_variables(
            answer, [*common_variables(request.job_id, request.uid), *list_variables([])]
        )
        answer.end(Verdict.FAIL)
        return
    held: list[Held] = []
    try:
        config = _read_config(arguments, answer)
    except ConfigError as error:
        messages = [str(error)]
    else:
        resolution = resolve_qpus(request.qpu_option, config)
        _log_resolution(resolution, config)
        held, failures = _acquire_resources(request, arguments, deadline, resolution, answer)
        consequence = "; the job goes on without it" if held else ""
        messages = [f"QPU {name}: {error}{consequence}" for name, error in failures]
    if deadline.is_cancelled():
        messages.append("the job was ended while its QPUs were acquired")
    elif not held:
        messages.append(_conclusion(request, arguments))
    for message in messages:
        answer.message(message)
    _answer_variables(answer, _job_variables(request, arguments, held))
    answer.end(
        Verdict.RUN if held else Verdict.FAIL,
        held_count=len(_acquirer(request, arguments, deadline).entries()),
    )


def release(request: Request, deadline: Deadline, answer: AnswerWriter) -> None:
    """Release what the journal says the step holds; what fails stays in the journal.

    Raises ArgumentError if the journal cannot be found.
    """
    arguments = _read_arguments(request, answer)
    acquirer = _acquirer(request, arguments, deadline)
    entries = acquirer.entries()
    for entry in entries:
        answer.redactor.add_variables(entry.values.items())
        answer.redactor.add([entry.token or ""])
    errors = acquirer.release_all(entries)
    for error in errors:
        answer.message(f"QPU {error}")
    _log.debug("released %d of %d", len(entries) - len(errors), len(entries))
    answer.end(Verdict.RUN, held_count=len(errors))


def _read_arguments(request: Request, answer: AnswerWriter) -> PluginArguments:
    for index, argument in enumerate(request.arguments):
        _log.debug("argv[%d] = [%s]", index, shown_argument(argument))
    arguments = parse_arguments(request.arguments)
    answer.redactor.add_variables(arguments.environment.items())
    # Proxies and certificates for our own requests: the process has no other environment.
    os.environ.update(arguments.environment)
    return arguments


def _read_config(arguments: PluginArguments, answer: AnswerWriter) -> Config:
    config = load_config(arguments.config_path, CLIENTS)
    for resource in config.resources.values():
        answer.redactor.add_variables(resource.environment.items())
    for warning in config.warnings:
        _log.warning("%s", warning)
    for _, problem in config.problems:
        _log.error("%s", problem)
    return config


def _log_resolution(resolution: Resolution, config: Config) -> None:
    for resource in resolution.resources:
        number = type_number(resource.type)
        _log.debug("name(%s), type(%d) found in %s", resource.name, number, config.path.stem)
        for key, value in resource.environment.items():
            _log.debug("name(%s), %s=%s", resource.name, key, shown_value(key, value))
    for name, error in resolution.rejected:
        _log.info("name(%s) skipped: %s", name, error)


def _acquirer(request: Request, arguments: PluginArguments, deadline: Deadline) -> Acquirer:
    holder = Holder(
        request.job_id,
        request.restart_count,
        request.step_id,
        request.uid,
        _remaining_seconds(request),
    )
    return Acquirer(holder, Journal(arguments.state_directory), deadline)


def _remaining_seconds(request: Request) -> int | None:
    """Return what is left of the job's time limit, None for a job without one."""
    if request.time_limit_minutes is None:
        return None
    elapsed_seconds = max(0, int(time.time()) - request.start_time) if request.start_time else 0
    return max(0, request.time_limit_minutes * 60 - elapsed_seconds)


def _answer_variables(answer: AnswerWriter, variables: Sequence[tuple[str, str]]) -> None:
    for name, value in variables:
        answer.variable(name, value)


def _acquire_resources(
    request: Request,
    arguments: PluginArguments,
    deadline: Deadline,
    resolution: Resolution,
    answer: AnswerWriter,
) -> tuple[list[Held], list[tuple[str, QrmiError]]]:
    """Return what the job may keep, and (name, reason) for what it does not get."""
    wanted = [
        (resource, resource_environment(resource, request.job_id, request.variables))
        for resource in resolution.resources
    ]
    acquirer = _acquirer(request, arguments, deadline)
    held: list[Held] = []
    failures: list[tuple[str, QrmiError]] = list(resolution.rejected)
    for (resource, _), outcome in zip(wanted, acquirer.acquire_all(wanted), strict=True):
        if isinstance(outcome, Held):
            held.append(outcome)
        else:
            failures.append((resource.name, outcome))
            _log.info("name(%s): %s", resource.name, outcome)
    if deadline.is_cancelled() or (arguments.requires_all and failures):
        _give_back(request, arguments, answer)
        held = []
    return held, failures


def _give_back(request: Request, arguments: PluginArguments, answer: AnswerWriter) -> None:
    """Release what was acquired for a job that cannot use it; the exit hook retries what fails."""
    acquirer = _acquirer(request, arguments, Deadline(UNDO_SECONDS))
    # One without a token is still being acquired: its answer may yet come.
    entries = [entry for entry in acquirer.entries() if entry.token is not None]
    answer.redactor.add(entry.token or "" for entry in entries)
    for error in acquirer.release_all(entries):
        _log.error("%s", error)


def _conclusion(request: Request, arguments: PluginArguments) -> str:
    """Return the last line for a user whose job has no QPU."""
    asked = ",".join(split_names(request.qpu_option))
    required = "not every QPU" if arguments.requires_all else "no QPU"
    consequence = "does not start" if arguments.fails_on_failure else "goes on without"
    return f"--qpu={asked}: {required} could be acquired; the job {consequence}"


def _job_variables(
    request: Request, arguments: PluginArguments, held: Sequence[Held]
) -> list[tuple[str, str]]:
    variables = list(arguments.environment.items())
    variables += common_variables(request.job_id, request.uid)
    variables += list_variables([each.resource for each in held])
    for each in held:
        timeout_seconds = job_timeout_seconds(
            request.time_limit_minutes, CLIENTS[each.resource.type].longest_task_seconds
        )
        variables += resource_variables(
            each.resource, each.environment, each.token, timeout_seconds
        )
    return variables
