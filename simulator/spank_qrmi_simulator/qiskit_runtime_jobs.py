# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of Qiskit Runtime, in a session or without: submitted, listed, cancelled, their results."""

import uuid
from collections.abc import Mapping
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from spank_qrmi_simulator.answers import RefusalError, read_json_object, refuse_unknown_keys
from spank_qrmi_simulator.ibm_backends import Backend, NoSnapshotError, model_of
from spank_qrmi_simulator.job_runner import Work
from spank_qrmi_simulator.jobs import RAN_TOO_LONG, Job
from spank_qrmi_simulator.qiskit_runtime_access import (
    authorise,
    known_backend,
    own_session,
    query_boolean,
    query_integer,
)
from spank_qrmi_simulator.sessions import Session
from spank_qrmi_simulator.site import Account, Site
from spank_qrmi_simulator.timestamps import timestamp

RUN_FUNCTION = "spank_qrmi_simulator.execution.ibm_primitives:run"
PROGRAMS = ("sampler", "estimator")
PROGRAMS_NOT_RUN = ("noiselearner",)
"""Programs of the service that the site has nothing to run with."""
ORDER_KEYS = frozenset(
    {"program_id", "backend", "runtime", "tags", "log_level", "cost", "session_id"}
    | {"calibration_id", "params", "private"}
)
LOG_LEVELS = ("critical", "error", "warning", "info", "debug")
LIST_KEYS = frozenset(
    {"pending", "session_id", "backend", "limit", "offset", "program", "created_after"}
    | {"created_before", "sort", "tags", "exclude_params"}
)
DEFAULT_PAGE = 10
LARGEST_PAGE = 200
LARGEST_OFFSET = 1_000_000
LARGEST_COST_SECONDS = 10_800
"""Also the cost of a job that names none."""


class QiskitRuntimeJobs:
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
            Route(f"{job}/results", self._show_results, methods=["GET"]),
            Route(f"{job}/logs", self._show_logs, methods=["GET"]),
        ]

    async def _submit(self, request: Request) -> Response:
        account = authorise(request, self._site)
        order = await read_json_object(request)
        _check(order)
        backend = known_backend(self._site, order.get("backend"))
        session = self._session(order, account, backend)
        model = _model(backend.name)
        job = self._take(order, account, session)
        self._site.job_runner.start(
            Work(
                job=job,
                function=RUN_FUNCTION,
                order={
                    "program_id": job.program_id,
                    "model": model,
                    "noise": self._site.with_noise,
                    "input": job.params,
                },
                backend=backend,
                time_limit_seconds=job.cost_seconds,
                session=session,
            )
        )
        return JSONResponse(
            {"id": job.job_id, "backend": job.backend_name, "session_id": job.session_id}
        )

    def _session(
        self, order: Mapping[str, object], account: Account, backend: Backend
    ) -> Session | None:
        session_id = order.get("session_id")
        if session_id is None:
            return None
        if not isinstance(session_id, str):
            raise RefusalError(400, "session_id must be a text")
        session = own_session(self._site, account, session_id)
        if not session.accepting_jobs:
            message = f"Session {session.session_id} is {session.state()} and accepts no jobs."
            raise RefusalError(400, message)
        if session.backend_name != backend.name:
            raise RefusalError(400, "The session is of another backend.")
        cost = int(str(order.get("cost") or 0))
        if cost > session.max_ttl_seconds:
            message = f"cost must not exceed the session's max_ttl of {session.max_ttl_seconds}"
            raise RefusalError(400, message)
        return session

    def _take(self, order: Mapping[str, object], account: Account, session: Session | None) -> Job:
        params, tags = order["params"], order.get("tags") or []
        job = Job(
            job_id=str(uuid.uuid4()),
            created_at=self._site.now(),
            backend_name=str(order["backend"]),
            program_id=str(order["program_id"]),
            service_crn=account.service_crn,
            session_id=None if session is None else session.session_id,
            params=params if isinstance(params, dict) else {},
            tags=tuple(tags) if isinstance(tags, list) else (),
            cost_seconds=int(str(order.get("cost") or LARGEST_COST_SECONDS)),
            is_private=order.get("private") is True,
        )
        self._site.add_runtime_job(job, session)
        return job

    async def _list(self, request: Request) -> Response:
        account = authorise(request, self._site)
        query = request.query_params
        refuse_unknown_keys(query, LIST_KEYS)
        limit = query_integer(query, "limit", DEFAULT_PAGE, (1, LARGEST_PAGE))
        offset = query_integer(query, "offset", 0, (0, LARGEST_OFFSET))
        exclude_params = query_boolean(query, "exclude_params") is True
        wanted = Filter(query, query.getlist("tags"))
        # Sessions past their time end their jobs when they are looked at.
        self._site.sessions()
        jobs = self._site.runtime_jobs.values()
        found = [
            job for job in jobs if job.service_crn == account.service_crn and wanted.matches(job)
        ]
        if query.get("sort", "DESC") == "DESC":
            found.reverse()
        page = [
            _document(job, exclude_params=exclude_params) for job in found[offset : offset + limit]
        ]
        return JSONResponse({"jobs": page, "count": len(found), "offset": offset, "limit": limit})

    async def _show(self, request: Request) -> Response:
        exclude_params = query_boolean(request.query_params, "exclude_params") is True
        return JSONResponse(_document(self._job(request), exclude_params=exclude_params))

    async def _cancel(self, request: Request) -> Response:
        job = self._job(request)
        if not job.is_pending():
            message = f"The job is {job.status} and cannot be cancelled."
            raise RefusalError(409, message)
        now = self._site.now()
        job.cancel(now)
        session = None if job.session_id is None else self._site.session(job.session_id)
        if session is not None:
            session.note_job_end(now)
        return Response(status_code=204)

    async def _delete(self, request: Request) -> Response:
        job = self._job(request)
        # What the service does with a job that has not ended is not published.
        if job.is_pending():
            message = f"The job is {job.status} and cannot be deleted."
            raise RefusalError(409, message)
        self._site.remove_runtime_job(job)
        return Response(status_code=204)

    async def _show_results(self, request: Request) -> Response:
        job = self._job(request)
        if job.results is None:
            return Response(status_code=204)
        # The API declares a text, and its generated clients refuse a result that calls itself JSON.
        return PlainTextResponse(job.results)

    async def _show_logs(self, request: Request) -> Response:
        return PlainTextResponse(self._job(request).logs)

    def _job(self, request: Request) -> Job:
        account = authorise(request, self._site)
        self._site.sessions()
        job = self._site.runtime_jobs.get(request.path_params["job_id"])
        if job is None or job.service_crn != account.service_crn:
            raise RefusalError(404, "Job not found.")
        return job


class Filter:
    """Which jobs a list's query wants; raises RefusalError (400) if the query makes no sense."""

    def __init__(self, query: Mapping[str, str], tags: list[str]) -> None:
        self._pending = query_boolean(query, "pending")
        self._after = _query_time(query, "created_after")
        self._before = _query_time(query, "created_before")
        self._tags = set(tags)
        self._equal = {
            "session_id": query.get("session_id"),
            "backend_name": query.get("backend"),
            "program_id": query.get("program"),
        }
        if query.get("sort", "DESC") not in ("ASC", "DESC"):
            raise RefusalError(400, "sort must be ASC or DESC")

    def matches(self, job: Job) -> bool:
        """Return whether the job is wanted."""
        # The service answers an unknown session with an empty list, not with 404.
        is_equal = all(value in (None, getattr(job, key)) for key, value in self._equal.items())
        is_in_time = (self._after or 0) <= job.created_at <= (self._before or job.created_at)
        is_state = self._pending in (None, job.is_pending())
        return is_equal and is_in_time and is_state and self._tags <= set(job.tags)


def _check(order: Mapping[str, object]) -> None:
    refuse_unknown_keys(order, ORDER_KEYS)
    if order.get("program_id") in PROGRAMS_NOT_RUN:
        message = f"The simulated site does not run {order['program_id']}."
        raise RefusalError(400, message)
    if order.get("program_id") not in PROGRAMS:
        raise RefusalError(400, "program_id must be sampler or estimator")
    if not isinstance(order.get("params"), dict):
        raise RefusalError(400, "params must be an object")
    cost = order.get("cost", 0)
    if isinstance(cost, bool) or not isinstance(cost, int) or cost < 0:
        raise RefusalError(400, "cost must be a number of seconds")
    if order.get("log_level", "info") not in LOG_LEVELS:
        raise RefusalError(400, "log_level is not known")
    tags = order.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise RefusalError(400, "tags must be a list of texts")


def _query_time(query: Mapping[str, str], key: str) -> float | None:
    text = query.get(key)
    if text is None:
        return None
    try:
        # Python 3.10 does not know Z.
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError as error:
        message = f"{key} must be a moment in ISO 8601"
        raise RefusalError(400, message) from error


def _model(backend_name: str) -> str:
    try:
        return model_of(backend_name)
    except NoSnapshotError as error:
        raise RefusalError(501, str(error)) from error


def _document(job: Job, *, exclude_params: bool) -> dict[str, object]:
    state: dict[str, object] = {
        # Only the outer status knows of jobs that ran too long.
        "status": "Cancelled" if job.status == RAN_TOO_LONG else job.status
    }
    if job.reason is not None:
        state |= {"reason": job.reason, "reason_code": job.reason_code}
    quantum_seconds = job.quantum_nanoseconds / 1e9
    document: dict[str, object] = {
        "id": job.job_id,
        "backend": job.backend_name,
        "session_id": job.session_id,
        "state": state,
        "status": job.status,
        "program": {"id": job.program_id},
        "created": timestamp(job.created_at),
        "cost": job.cost_seconds,
        "tags": list(job.tags),
        "private": job.is_private,
        "usage": {"quantum_seconds": quantum_seconds, "seconds": quantum_seconds},
    }
    if job.ended_at is not None:
        document["ended"] = timestamp(job.ended_at)
    if not exclude_params and not job.is_private:
        document["params"] = job.params
    return document
