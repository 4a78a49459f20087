# SPDX-License-Identifier: GPL-3.0-or-later
"""What the worker does for spank_ibm_qrun.so: the variables of a job, and its clean-up.

Only the site's own credentials and endpoint are ever used here, never a value of the job's.
"""

import logging
from collections.abc import Callable, Mapping

from spank_qrmi.answer import AnswerWriter
from spank_qrmi.at_once import do_at_once
from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.clients.late_submission import (
    LATE_SUBMISSION_POLL_SECONDS,
    LATE_SUBMISSION_SECONDS,
    remove_once_there,
)
from spank_qrmi.clients.quantum_system import LONGEST_JOB_SECONDS
from spank_qrmi.configuration.node_variables import with_file_variables
from spank_qrmi.configuration.qrun_credentials import load_credentials
from spank_qrmi.configuration.qrun_plugstack import QrunArguments, parse_arguments
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import QrmiError
from spank_qrmi.job.step import check_node_variables, open_network
from spank_qrmi.network.calls import QuantumJobs
from spank_qrmi.network.worker_side import Network
from spank_qrmi.protocol import Request, Verdict
from spank_qrmi.time_limit import timeout_seconds_of_job
from spank_qrmi.trust.files import warn_or_refuse

log = logging.getLogger(__name__)

MOST_REMOVALS_AT_ONCE = 8

LARGEST_ASKED_ONE_BY_ONE = 8
"""For more jobs the service is asked for a list: most tasks of a large step never had a job."""

_LIST_SHARE = 0.25
"""Part of the time that is left which one list may take, so that there is time to do without."""


def answer_variables(
    request: Request, deadline: Deadline, answer: AnswerWriter, network: Network
) -> None:
    """Answer with the variables of the job's tasks, without the id that each has of its own.

    Raises ArgumentError or ConfigError if the administrator's settings cannot be used.
    """
    arguments = _read_arguments(request, answer)
    warn_or_refuse(arguments.exposures, is_strict=arguments.is_strict)
    variables = {
        **_read_site_variables(arguments, answer, is_strict=arguments.is_strict),
        **_variables_of_options(request),
        **arguments.node_variables,
    }
    answer.send_variables(variables.items())
    answer.end(Verdict.RUN)


def clean_up(request: Request, deadline: Deadline, answer: AnswerWriter, network: Network) -> None:
    """Remove the request's quantum jobs from the service, as far as they are there.

    Answers how many may still be there, with one message for each.
    """
    # Those that may arrive yet come last, so that nobody waits for them but their own like.
    quantum_job_ids = request.quantum_jobs + request.killed_quantum_jobs
    try:
        arguments = _read_arguments(request, answer)
        values = _read_site_variables(arguments, answer)
        open_network(network, [arguments], arguments, answer.redactor, deadline)
        jobs = network.services(deadline, arguments.node_variables).quantum_jobs(values)
        outcomes = _remove_all(request, jobs, deadline)
    except QrmiError as error:
        outcomes = [error for _ in quantum_job_ids]
    failed = 0
    for quantum_job_id, outcome in zip(quantum_job_ids, outcomes, strict=True):
        if isinstance(outcome, QrmiError):
            failed += 1
            text = f"quantum job {quantum_job_id} may still be on the service: {outcome}"
            answer.send_message(text)
        elif outcome:
            log.info("quantum job %s was left on the service and is removed", quantum_job_id)
    answer.end(Verdict.RUN, left_count=failed)


def _read_arguments(request: Request, answer: AnswerWriter) -> QrunArguments:
    arguments = parse_arguments(request.arguments)
    check_node_variables(arguments, answer)
    return with_file_variables(arguments)


def _read_site_variables(
    arguments: QrunArguments, answer: AnswerWriter, *, is_strict: bool = False
) -> Mapping[str, str]:
    values = arguments.values
    if arguments.credentials_path is not None:
        values = load_credentials(arguments.credentials_path, is_strict=is_strict)
    answer.redactor.add_variables(values.items())
    return values


def _variables_of_options(request: Request) -> dict[str, str]:
    """Return what follows from the job's options; nothing for a job that was given none."""
    options = {names.BACKEND: request.q_backend, names.PRIMITIVE: request.q_primitive}
    given = {name: value for name, value in options.items() if value}
    if not given:
        return {}
    seconds = timeout_seconds_of_job(request.time_limit_minutes, LONGEST_JOB_SECONDS)
    return {**given, names.TIMEOUT_SECONDS: str(seconds)}


def _remove_all(
    request: Request, service: QuantumJobs, deadline: Deadline
) -> list[bool | QrmiError]:
    """Remove the jobs, some at a time; return for each whether there was one, or its error."""
    late_submission = Deadline(min(LATE_SUBMISSION_SECONDS, deadline.remaining_seconds() / 2))
    is_there = _look_for_jobs(service, request, late_submission)
    killed = set(request.killed_quantum_jobs)

    def remove(quantum_job_id: str) -> bool:
        last_arrival = late_submission if quantum_job_id in killed else Deadline(0)
        return is_there(quantum_job_id) and remove_once_there(
            lambda: service.remove(quantum_job_id), last_arrival
        )

    quantum_job_ids = request.quantum_jobs + request.killed_quantum_jobs
    return do_at_once(remove, quantum_job_ids, deadline, MOST_REMOVALS_AT_ONCE)


def _look_for_jobs(
    service: QuantumJobs, request: Request, last_arrival: Deadline
) -> Callable[[str], bool]:
    """Return what tells whether a job may be there: of many those that a list shows in time."""
    if len(request.quantum_jobs + request.killed_quantum_jobs) <= LARGEST_ASKED_ONE_BY_ONE:
        return lambda _: True
    try:
        there = set(service.job_ids(_LIST_SHARE))
        while not there.issuperset(request.killed_quantum_jobs) and last_arrival.wait(
            LATE_SUBMISSION_POLL_SECONDS
        ):
            there |= service.job_ids(_LIST_SHARE)
    except QrmiError as error:
        log.debug("the quantum jobs are asked for one by one: %s", error)
        return lambda _: True
    return there.__contains__
