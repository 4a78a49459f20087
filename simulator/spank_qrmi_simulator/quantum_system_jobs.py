# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of Direct Access: submitted with storage for input and results, cancelled, deleted.

A job holds one of its backend's lanes until it is deleted, even when it has long ended.
"""

from collections.abc import Mapping
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spank_qrmi_simulator.answers import RefusalError, read_json_object
from spank_qrmi_simulator.ibm_backends import Backend, NoSnapshotError, model_of
from spank_qrmi_simulator.job_runner import Work
from spank_qrmi_simulator.jobs import Job
from spank_qrmi_simulator.quantum_system_access import authorise
from spank_qrmi_simulator.quantum_system_errors import (
    BACKEND_RESERVED,
    INVALID_INPUT,
    JOB_EXISTS,
    JOB_NOT_FOUND,
    NO_LANE_FREE,
    NOT_CANCELLABLE,
    error_document,
)
from spank_qrmi_simulator.quantum_system_logs import keep_log
from spank_qrmi_simulator.quantum_system_orders import storage_urls, violations
from spank_qrmi_simulator.site import Site
from spank_qrmi_simulator.timestamps import timestamp

RUN_FUNCTION = "spank_qrmi_simulator.execution.direct_access:run"
DEFAULT_LOG_LEVEL = "warning"


class QuantumSystemJobs:
    """The job endpoints."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self, base: str) -> list[Route]:
        """Return the endpoints below `base`."""
        job = f"{base}/jobs/{{job_id}}"
        return [
            Route(f"{base}/jobs", self._submit, methods=["POST"]),
            Route(f"{base}/jobs", self._list, methods=["GET"]),
            Route(job, self._show, methods=["GET"]),
            Route(job, self._delete, methods=["DELETE"]),
            Route(f"{job}/cancel", self._cancel, methods=["POST"]),
        ]

    async def _submit(self, request: Request) -> Response:
        authorise(request, self._site)
        order = await read_json_object(request)
        if found := violations(order):
            return JSONResponse(error_document(400, "validation failed", found), 400)
        backend = self._site.quantum_system_backends.get(str(order["backend"]))
        if backend is None:
            # The service has no error body of its own here, only its web framework's.
            return JSONResponse({"detail": f"Backend {order['backend']} not found."}, 400)
        model = _model(backend.name)
        job = self._take(order, backend)
        self._site.job_runner.start(
            Work(
                job=job,
                function=RUN_FUNCTION,
                order={
                    "program_id": job.program_id,
                    "model": model,
                    "noise": self._site.with_noise,
                    "storage": storage_urls(order),
                },
                backend=backend,
                time_limit_seconds=job.cost_seconds,
                status_when_late="Cancelled",
                keep_log=partial(keep_log, job),
            )
        )
        return Response(status_code=204)

    def _take(self, order: Mapping[str, object], backend: Backend) -> Job:
        job_id = str(order["id"])
        if backend.locked:
            raise RefusalError(423, "The backend is reserved.", BACKEND_RESERVED)
        jobs = self._site.direct_access_jobs
        if job_id in jobs:
            raise RefusalError(409, f"Job {job_id} exists already.", JOB_EXISTS)
        taken = [job for job in jobs.values() if job.backend_name == backend.name]
        if len(taken) >= backend.lanes:
            raise RefusalError(429, "All execution lanes are taken.", NO_LANE_FREE)
        job = Job(
            job_id=job_id,
            created_at=self._site.now(),
            status="Running",
            backend_name=backend.name,
            program_id=str(order["program_id"]),
            params=order,
            cost_seconds=int(str(order["timeout_secs"])),
        )
        jobs[job_id] = job
        return job

    async def _list(self, request: Request) -> Response:
        authorise(request, self._site)
        jobs = self._site.direct_access_jobs.values()
        return JSONResponse({"jobs": [_document(job) for job in jobs]})

    async def _show(self, request: Request) -> Response:
        return JSONResponse(_document(self._job(request)))

    async def _cancel(self, request: Request) -> Response:
        job = self._job(request)
        if not job.is_pending():
            raise RefusalError(409, f"The job is {job.status}.", NOT_CANCELLABLE)
        # Clients fetch the log as soon as they see that the job has ended.
        await self._site.job_runner.interrupt(job, partial(keep_log, job))
        job.cancel(self._site.now())
        return Response(status_code=204)

    async def _delete(self, request: Request) -> Response:
        job = self._job(request)
        if job.is_pending():
            raise RefusalError(409, "The job is running.", INVALID_INPUT)
        del self._site.direct_access_jobs[job.job_id]
        return Response(status_code=204)

    def _job(self, request: Request) -> Job:
        authorise(request, self._site)
        job = self._site.direct_access_jobs.get(request.path_params["job_id"])
        if job is None:
            raise RefusalError(404, "Job not found.", JOB_NOT_FOUND)
        return job


def _model(backend_name: str) -> str:
    try:
        return model_of(backend_name)
    except NoSnapshotError as error:
        raise RefusalError(501, str(error)) from error


def _document(job: Job) -> dict[str, object]:
    document: dict[str, object] = {
        "log_level": DEFAULT_LOG_LEVEL,
        **job.params,
        "created_time": timestamp(job.created_at),
        "status": job.status,
    }
    if job.ended_at is not None:
        document["end_time"] = timestamp(job.ended_at)
        document["usage"] = {"quantum_nanoseconds": job.quantum_nanoseconds}
    if job.reason is not None:
        document["reason_code"] = job.reason_code
        document["reason_message"] = job.reason
        document["reason_solution"] = "Check the job's input."
    return document
