# SPDX-License-Identifier: GPL-3.0-or-later
"""What a step that asks for QPUs gets, told in order: which, from whom, and what its user reads."""

import logging
from collections.abc import Sequence
from pathlib import Path

from spank_qrmi.answer import AnswerWriter
from spank_qrmi.clients import CLIENTS, unread_text
from spank_qrmi.configuration.node_variables import with_file_variables
from spank_qrmi.configuration.qrmi_config import Config, load_config
from spank_qrmi.configuration.qrmi_plugstack import PluginArguments
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import (
    ArgumentError,
    FirstNodeError,
    JournalError,
    LimitError,
    NotPermittedError,
    QrmiError,
    UnavailableError,
)
from spank_qrmi.job.accounts import accounting_of
from spank_qrmi.job.acquirer import Acquired, Acquirer, Wanted
from spank_qrmi.job.environment import (
    collect_variables,
    common_variables,
    export_variable,
    list_variables,
    resource_variables,
    shares_qpus,
    variables_prefix,
)
from spank_qrmi.job.licenses import check_licenses
from spank_qrmi.job.permissions import keep_permitted
from spank_qrmi.job.release import release_entries
from spank_qrmi.job.releaser import Releaser
from spank_qrmi.job.resolution import (
    Resolution,
    resolve_qpus,
    shown_names,
    split_names,
)
from spank_qrmi.job.step import (
    advice_to_check,
    entries_of_step,
    names_by_reason,
    read_arguments,
    run_text,
)
from spank_qrmi.network.worker_side import Network
from spank_qrmi.protocol import Request, Verdict
from spank_qrmi.redaction import MASK, shown_value
from spank_qrmi.state.accounting import EndedBy
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.token_cache import TokenCache
from spank_qrmi.state.user_limits import UserLimits
from spank_qrmi.time_limit import timeout_seconds_of_job
from spank_qrmi.trust.files import warn_or_refuse

log = logging.getLogger(__name__)

_NOT_THE_SITES_FAULT = (FirstNodeError, LimitError, NotPermittedError, UnavailableError)

NOT_HERE = (
    "only the first node of this step acquires it; the tasks on this node go without. What sbatch "
    "or salloc acquires for the whole job is on all of its nodes"
)

UNDO_SECONDS = 3.0
"""How long giving back may take when an acquisition did not come to its end."""


def acquire(request: Request, deadline: Deadline, answer: AnswerWriter, network: Network) -> None:
    """Acquire what `--qpu` asks for; answer with the job's variables, messages and the verdict.

    A step that shares QPUs of its job asks only for the others, and has both.
    """
    try:
        arguments = with_file_variables(read_arguments(request, answer))
    except ArgumentError as error:
        _refuse_all(request, error, answer)
        return
    journal = Journal(arguments.state_directory)
    advice = advice_to_check()
    acquired: list[Acquired] = []
    failures: list[tuple[str, QrmiError]] = []
    shares = shares_qpus(request.variables)
    goes_on = shares and not arguments.requires_all
    try:
        config, resolution, wanted = _find_wanted(request, arguments, deadline, answer, network)
    except QrmiError as error:
        with_jobs = f"; the {run_text(request)} goes on with the QPUs of its job" if goes_on else ""
        messages = [f"{error}{with_jobs}"]
    else:
        acquirer = _acquirer(request, arguments, journal, deadline, network)
        acquired, failures = _acquire_resources(wanted, resolution, acquirer)
        elsewhere = _names_elsewhere(failures)
        is_incomplete = len(failures) > len(elsewhere)
        is_refused = deadline.is_cancelled() or (arguments.requires_all and is_incomplete)
        if is_refused:
            _give_back(acquirer, failures, answer)
            acquired = []
        goes_on = not is_refused and bool(acquired or elsewhere or shares)
        messages = _failure_messages(request, failures, goes_on=goes_on)
        names = _names_to_check(failures, wanted, config)
        advice = advice_to_check(names) if names else ""
    # The rest goes on while it ends: the job waits for that too.
    network.end()
    conclusion = ""
    if deadline.is_cancelled():
        goes_on = False
        conclusion = "the job was ended while its QPUs were acquired"
    elif not goes_on:
        conclusion = "; ".join(filter(None, [_conclusion(request, arguments), advice]))
    for message in messages:
        answer.send_message(message)
    answer.send_variables(_variables_to_set(request, arguments, acquired))
    # What the step's end has to release, or to tell.
    left_count = sum(entry.needs_release for entry in _read_entries(request, journal, failures))
    answer.end(Verdict.RUN if goes_on else Verdict.FAIL, left_count, conclusion)


def _refuse_all(request: Request, error: ArgumentError, answer: AnswerWriter) -> None:
    answer.send_message(f"--qpu: {error}; {advice_to_check()}")
    answer.send_variables(
        [*common_variables(request.job_id, request.uid), *list_variables([], request.variables)]
    )
    answer.end(Verdict.FAIL)


def _find_wanted(
    request: Request,
    arguments: PluginArguments,
    deadline: Deadline,
    answer: AnswerWriter,
    network: Network,
) -> tuple[Config, Resolution, list[Wanted]]:
    """Return what there is, what of it the step asks for, and what is to be asked; raise QrmiError.

    If that is anything, the network is open.
    """
    config = _read_config(arguments, answer)
    resolution = resolve_qpus(request.qpu_option, config, is_strict=arguments.is_strict)
    resolution = keep_permitted(resolution, request, deadline)
    resolution = check_licenses(resolution, request, arguments.license_check, answer)
    wanted = _collect_wanted(request, resolution, config, answer)
    if wanted:
        network.open(
            [arguments.node_variables],
            arguments.worker_user,
            request.timeout_seconds,
            token_cache=TokenCache(arguments.state_directory, answer.redactor.add),
            munge_socket=arguments.munge_socket,
        )
    # What takes long in the network process has begun.
    _log_resolution(request, resolution, config)
    if wanted:
        network.wait_until_open(deadline)
    return config, resolution, wanted


def _acquirer(
    request: Request,
    arguments: PluginArguments,
    journal: Journal,
    deadline: Deadline,
    network: Network,
) -> Acquirer:
    return Acquirer(
        *(request, arguments.node_variables, journal, deadline, network),
        allows_user_endpoints=arguments.allows_user_endpoints,
        limits=UserLimits(
            arguments.state_directory, arguments.most_held, arguments.acquisitions_per_minute
        ),
        accounting=accounting_of(arguments, EndedBy.ACQUISITION, request.slurm_conf),
    )


def _read_entries(
    request: Request, journal: Journal, failures: Sequence[tuple[str, QrmiError]]
) -> list[Entry]:
    """Return what the step holds; log why that is not known, unless an acquisition failed so."""
    try:
        return entries_of_step(request, journal)
    except JournalError as error:
        # Nothing could be recorded there, so nothing was acquired that must be released.
        if str(error) not in {str(failure) for _, failure in failures}:
            log.error("%s", error)
        return []


def _read_config(arguments: PluginArguments, answer: AnswerWriter) -> Config:
    config = load_config(arguments.config_path, CLIENTS)
    answer.redactor.add(config.secrets())
    warn_or_refuse([*arguments.exposures, *config.exposures], is_strict=arguments.is_strict)
    return config


def _collect_wanted(
    request: Request, resolution: Resolution, config: Config, answer: AnswerWriter
) -> list[Wanted]:
    """Return the resources with their variables, of which all secrets are hidden from now on."""
    # Those in files of their own are known since their resource is asked for.
    of_files = (each for resource in resolution.resources for each in resource.secrets())
    secrets = [*config.secrets(), *of_files]
    answer.redactor.add(secrets)
    wanted = [
        (resource, collect_variables(resource, request.job_id, request.variables, secrets))
        for resource in resolution.resources
    ]
    # No value of another variable is used. What another job's session is called stays hidden too.
    used = tuple(variables_prefix(each) for each, values in wanted if not values.are_too_many)
    exported = dict(request.variables)
    answer.redactor.add_variables(each for each in exported.items() if each[0].startswith(used))
    return wanted


def _log_resolution(request: Request, resolution: Resolution, config: Config) -> None:
    for resource in resolution.resources:
        number = list(CLIENTS).index(resource.type)
        log.debug("name(%s), type(%d) found in %s", resource.name, number, Path(config.path).stem)
        for key, value in resource.environment.items():
            shown = MASK if resource.is_secret(key) else shown_value(key, value)
            log.debug("name(%s), %s=%s", resource.name, key, shown)
        unread = unread_text(resource.type, {**resource.environment, **resource.secret_files})
        if unread:
            log.warning("name(%s): %s", resource.name, unread)
        if resource.unread:
            beside = ", ".join(resource.unread)
            log.warning('name(%s): beside "environment" nothing reads %s', resource.name, beside)
    for reason, names in names_by_reason(resolution.rejected).items():
        shown = shown_names(names)
        log.info(
            "refused name(%s) for job %d of user %d: %s", shown, request.job_id, request.uid, reason
        )
    rejected = dict(resolution.rejected)
    for entry_name, problem in config.problems:
        # The message of a rejected one is in the log too.
        if entry_name not in rejected:
            log.error("%s", problem)


def _acquire_resources(
    wanted: Sequence[Wanted], resolution: Resolution, acquirer: Acquirer
) -> tuple[list[Acquired], list[tuple[str, QrmiError]]]:
    """Return what was acquired, and (name, reason) for what was not."""
    acquired: list[Acquired] = []
    failures: list[tuple[str, QrmiError]] = list(resolution.rejected)
    for (resource, _), outcome in zip(wanted, acquirer.acquire_all(wanted), strict=True):
        if isinstance(outcome, Acquired):
            acquired.append(outcome)
        else:
            failures.append((resource.name, outcome))
    return acquired, failures


def _give_back(
    acquirer: Acquirer, failures: Sequence[tuple[str, QrmiError]], answer: AnswerWriter
) -> None:
    """Release what was acquired for a job that cannot use it; the exit hook retries what fails."""
    found = _read_entries(acquirer.request, acquirer.journal, failures)
    # Else one without a token is still being acquired: its answer may yet come.
    entries = [entry for entry in found if entry.token is not None or entry.holds_nothing]
    deadline = Deadline(UNDO_SECONDS)
    releaser = Releaser(
        *(acquirer.journal, deadline, acquirer.network), accounting=acquirer.accounting
    )
    release_entries(entries, releaser, answer)


def _names_elsewhere(failures: Sequence[tuple[str, QrmiError]]) -> list[str]:
    """Return what the step's first node acquires for itself alone."""
    return [name for name, error in failures if isinstance(error, FirstNodeError)]


def _failure_messages(
    request: Request, failures: Sequence[tuple[str, QrmiError]], *, goes_on: bool
) -> list[str]:
    elsewhere = _names_elsewhere(failures)
    messages = []
    for reason, names in names_by_reason(
        each for each in failures if each[0] not in elsewhere
    ).items():
        without = "it" if len(names) == 1 else "them"
        consequence = f"; the {run_text(request)} goes on without {without}" if goes_on else ""
        messages.append(f"QPU {shown_names(names)}: {reason}{consequence}")
    if elsewhere and goes_on:
        messages.append(f"QPU {shown_names(elsewhere)}: {NOT_HERE}")
    return messages


def _names_to_check(
    failures: Sequence[tuple[str, QrmiError]], wanted: Sequence[Wanted], config: Config
) -> list[str]:
    """Return which QPUs an administrator can find something wrong with.

    Not with those of which a user brings variables, that are only busy, or not for this job.
    """
    known = {*config.resources, *(name for name, _ in config.problems)}
    users = {
        resource.name
        for resource, variables in wanted
        if variables.user or not resource.environment
    }
    return [
        name
        for name, error in failures
        if name in known - users and not isinstance(error, _NOT_THE_SITES_FAULT)
    ]


def _conclusion(request: Request, arguments: PluginArguments) -> str:
    asked = shown_names(split_names(request.qpu_option), ",")
    required = "not every QPU" if arguments.requires_all else "no QPU"
    consequence = "does not start" if arguments.fails_on_failure else "goes on without"
    return f"--qpu={asked}: {required} could be acquired; the {run_text(request)} {consequence}"


def _variables_to_set(
    request: Request, arguments: PluginArguments, acquired: Sequence[Acquired]
) -> list[tuple[str, str]]:
    variables = list(arguments.node_variables.items())
    variables += common_variables(request.job_id, request.uid)
    variables += list_variables([each.resource for each in acquired], request.variables)
    for each in acquired:
        # A service may refuse a task that could take longer than the session that it runs in.
        timeout_seconds = timeout_seconds_of_job(
            request.time_limit_minutes,
            CLIENTS[each.resource.type].longest_task_seconds,
            each.longest_seconds,
        )
        variables += resource_variables(each.resource, each.variables, each.token, timeout_seconds)
    return variables + export_variable(request.variables, (name for name, _ in variables))
