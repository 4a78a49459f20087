# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of IBM Direct Access, now called the Quantum System API, of one service instance.

Owns the job's exchanges and its document; where input and results are kept is in the order, which
its maker knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar

from spank_qrmi.clients.base import Exchange, path_segment
from spank_qrmi.clients.ibm import IbmService
from spank_qrmi.clients.response import Response, error_code, whole_number
from spank_qrmi.errors import ServiceError

LONGEST_JOB_SECONDS = 604800
"""The service writes the result to a presigned URL, which lives as long as the job may run, at most
7 days (AWS Signature Version 4)."""

_JOBS = "/v1/jobs"
_JOB_NOT_FOUND = "1291"

_DELETE_PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0)
"""Waits for a job whose cancellation was accepted to reach its final status."""

COMPLETED = "Completed"
FAILED = "Failed"
CANCELLED = "Cancelled"
FINAL_STATUSES = frozenset({COMPLETED, FAILED, CANCELLED})


@dataclass(frozen=True)
class QuantumJob:
    """A job as the service describes it; texts can be shown as they are and may be empty.

    `status` is one of FINAL_STATUSES once the job is over, else `Running` or a text that we do not
    know; `quantum_nanoseconds` is the time it used on the machine, None if it is not told.
    """

    quantum_job_id: str
    status: str
    reason_code: int | None = None
    reason_message: str = ""
    reason_solution: str = ""
    quantum_nanoseconds: int | None = None

    @property
    def is_final(self) -> bool:
        """Return whether the job is over."""
        return self.status in FINAL_STATUSES


class QuantumSystem(IbmService):
    """The jobs of one service instance."""

    munge_credentials: ClassVar[Mapping[str, int]] = {}
    """As of a `Client`: none."""

    def submit(self, exchange: Exchange, order: Mapping[str, object]) -> None:
        """Submit a job (POST /v1/jobs); the service answers 204. Made once, never repeated.

        `order` holds id, backend, program_id, log_level, timeout_secs and storage. Raises
        AuthenticationError, and ServiceError for every other refusal: 409 if the id is taken, 423
        if the backend is reserved, 429 if all lanes are taken, both of these with what Retry-After
        asked for.
        """
        response = self.request(
            exchange, "POST", _JOBS, json=order, is_repeatable=False, max_tries=1
        )
        self.check_success(response)

    def job(self, exchange: Exchange, quantum_job_id: str) -> QuantumJob | None:
        """Return the job, None if the service knows none of that id (GET /v1/jobs/{id}).

        Services of early 2025 have no such route, so their list of jobs is searched then. Raises
        ServiceError, also for a document that is no job's.
        """
        response = self.request(exchange, "GET", _path(quantum_job_id), is_repeatable=True)
        if response.status == HTTPStatus.NOT_FOUND and error_code(response) == _JOB_NOT_FOUND:
            return None
        if response.status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
            response, jobs = self._list_jobs(exchange)
            found = [job for job in jobs if job.get("id") == quantum_job_id]
            return _job(response, found[0], quantum_job_id) if found else None
        self.check_success(response)
        return _job(response, response.json_object(), quantum_job_id)

    def cancel(self, exchange: Exchange, quantum_job_id: str) -> None:
        """Cancel the job (POST /v1/jobs/{id}/cancel); one that is over or unknown is fine."""
        response = self.request(
            exchange, "POST", f"{_path(quantum_job_id)}/cancel", is_repeatable=True
        )
        if response.status not in {HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND}:
            self.check_success(response)

    def delete(self, exchange: Exchange, quantum_job_id: str) -> None:
        """Delete a job that is over, which frees its lane (DELETE /v1/jobs/{id}).

        One that the service does not know is fine. Raises ServiceError with status 409 if the job
        is not over.
        """
        response = self.request(exchange, "DELETE", _path(quantum_job_id), is_repeatable=True)
        if response.status != HTTPStatus.NOT_FOUND:
            self.check_success(response)

    def remove(self, exchange: Exchange, quantum_job_id: str) -> bool:
        """Cancel the job unless it is over, and delete it; return whether there was one.

        Raises ServiceError if it may still be there.
        """
        job = self.job(exchange, quantum_job_id)
        if job is None:
            return False
        if not job.is_final:
            self.cancel(exchange, quantum_job_id)
        for seconds in _DELETE_PAUSES_SECONDS:
            try:
                self.delete(exchange, quantum_job_id)
            except ServiceError as error:
                if error.status != HTTPStatus.CONFLICT or not exchange.http.wait(seconds):
                    raise
            else:
                return True
        self.delete(exchange, quantum_job_id)
        return True

    def job_ids(self, exchange: Exchange, share: float = 1.0) -> frozenset[str]:
        """Return the ids of all jobs that the login may see (GET /v1/jobs); raise ServiceError."""
        _, jobs = self._list_jobs(exchange, share)
        ids = (job.get("id") for job in jobs)
        return frozenset(each for each in ids if isinstance(each, str))

    def lanes_taken(self, exchange: Exchange, backend: str) -> int:
        """Return how many lanes of a backend the jobs have that the login may see.

        One that is over has its lane until it is deleted. Raises ServiceError.
        """
        _, jobs = self._list_jobs(exchange)
        return sum(job.get("backend", backend) == backend for job in jobs)

    def _list_jobs(
        self, exchange: Exchange, share: float = 1.0
    ) -> tuple[Response, list[dict[str, object]]]:
        response = self.request(exchange, "GET", _JOBS, is_repeatable=True, share=share)
        self.check_success(response)
        jobs = response.json_object().get("jobs")
        if not isinstance(jobs, list):
            raise response.unusable_error("holds no list of jobs")
        return response, [job for job in jobs if isinstance(job, dict)]

    def refusal(self, response: Response) -> ServiceError:
        """Return the error for a response that is no success."""
        return response.refusal(self.refusal_text(response))


def _path(quantum_job_id: str) -> str:
    return f"{_JOBS}/{path_segment(quantum_job_id)}"


def _job(response: Response, document: Mapping[str, object], quantum_job_id: str) -> QuantumJob:
    """Return the job that `document` describes; raise ServiceError if it describes none."""
    status = response.shown(document.get("status"))
    if not status:
        raise response.unusable_error("gives no status of the job")
    usage = document.get("usage")
    nanoseconds = usage.get("quantum_nanoseconds") if isinstance(usage, dict) else None
    return QuantumJob(
        quantum_job_id=quantum_job_id,
        status=status,
        reason_code=whole_number(document.get("reason_code")),
        reason_message=response.shown(document.get("reason_message")),
        reason_solution=response.shown(document.get("reason_solution")),
        quantum_nanoseconds=whole_number(nanoseconds),
    )
