# SPDX-License-Identifier: GPL-3.0-or-later
"""Submitting a job until the service has taken it, and following it until it is over."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from spank_qrmi.clients.base import Exchange
from spank_qrmi.clients.quantum_system import QuantumJob, QuantumSystem
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import AuthenticationError, QrmiError, ServiceError
from spank_qrmi.qrun.outcome import ExitStatus, QrunError
from spank_qrmi.qrun.progress import Progress

POLL_SECONDS = 1.0

_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0)
_LONGEST_LANE_PAUSE_SECONDS = 30.0
_LONGEST_RETRY_AFTER_SECONDS = 3600.0

_MISSES_UNTIL_LOST = 3
"""Responses without such a job before that is believed: a service may list it a moment late."""

_BUSY_TEXTS: Mapping[int | None, str] = {
    HTTPStatus.LOCKED: "waiting: the backend is reserved",
    HTTPStatus.TOO_MANY_REQUESTS: "waiting for a free lane",
}


class StoppedError(QrmiError):
    """The run was told to stop."""

    def __init__(self) -> None:
        super().__init__("the run was told to stop")


@dataclass
class Submission:
    """What is known of a job's submission while it goes on; another thread may look at it.

    `is_possible` says that the service may have the job; `is_open` that a request is under way or
    was lost, which may still bring it there.
    """

    is_possible: bool = False
    is_open: bool = False


def submit(
    system: QuantumSystem,
    exchange: Exchange,
    new_order: Callable[[], Mapping[str, object]],
    submission: Submission,
    *,
    deadline: Deadline,
    progress: Progress,
) -> None:
    """Submit a job; wait as long as it takes for a lane, and a little for a service in trouble.

    `new_order` makes the order anew for each try, as its URLs expire. Raises QrunError for a job id
    that is taken, StoppedError, and ServiceError with the last reason.
    """
    pauses = 0
    busy_seconds = 1.0
    while True:
        order = new_order()
        was_lost = submission.is_open
        submission.is_possible = submission.is_open = True
        try:
            system.submit(exchange, order)
        except ServiceError as error:
            submission.is_possible = submission.is_open = error.may_have_acted or was_lost
            if error.status == HTTPStatus.CONFLICT and was_lost:
                # The id is ours: an earlier try did reach the service.
                break
            if error.status == HTTPStatus.CONFLICT:
                raise id_taken_error(str(order["id"])) from error
            if error.status in _BUSY_TEXTS:
                progress.state(_BUSY_TEXTS[error.status])
                seconds = busy_seconds
                busy_seconds = min(2 * busy_seconds, _LONGEST_LANE_PAUSE_SECONDS)
            elif _is_transient(error) and pauses < len(_PAUSES_SECONDS):
                progress.state(f"the submission is tried again: {error}")
                seconds = _PAUSES_SECONDS[pauses]
                pauses += 1
            else:
                raise
            asked_seconds = min(error.retry_after_seconds or 0.0, _LONGEST_RETRY_AFTER_SECONDS)
            pause(deadline, max(seconds, asked_seconds))
        else:
            break
    submission.is_open = False


def id_taken_error(quantum_job_id: str) -> QrunError:
    """Return the error for a job id that the service knows already."""
    return QrunError(
        f"the service has a job {quantum_job_id} already: another qrun of this task is "
        "running or was killed; start each with srun, so that it has an id of its own",
        ExitStatus.SUBMISSION,
    )


def wait_for_end(
    system: QuantumSystem,
    exchange: Exchange,
    quantum_job_id: str,
    deadline: Deadline,
    progress: Progress,
) -> QuantumJob:
    """Return the job once it is over, however long that takes and however often the service fails.

    Raises AuthenticationError, QrunError (the service is definite that there is nothing to wait
    for) and StoppedError.
    """
    misses = 0
    while True:
        try:
            job = system.job(exchange, quantum_job_id)
        except AuthenticationError:
            raise
        except ServiceError as error:
            if not _is_transient(error):
                raise QrunError(str(error), ExitStatus.LOST) from error
            if not deadline.is_cancelled():
                progress.state(f"job {quantum_job_id}: no news: {error}")
        else:
            misses = 0 if job is not None else misses + 1
            if misses == _MISSES_UNTIL_LOST:
                raise QrunError(
                    f"the service knows no job {quantum_job_id} any more: somebody has deleted it",
                    ExitStatus.LOST,
                )
            if job is not None:
                progress.state(f"job {quantum_job_id}: {job.status}")
                if job.is_final:
                    return job
        pause(deadline, POLL_SECONDS)


def pause(deadline: Deadline, seconds: float) -> None:
    """Wait so long; raise StoppedError as soon as the run is told to stop."""
    if not deadline.wait(seconds):
        raise StoppedError


def _is_transient(error: ServiceError) -> bool:
    """Return whether the service may answer better later: it is silent, busy, or talks nonsense."""
    status = error.status
    if status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _BUSY_TEXTS:
        return True
    return status < HTTPStatus.MULTIPLE_CHOICES or status == HTTPStatus.REQUEST_TIMEOUT
