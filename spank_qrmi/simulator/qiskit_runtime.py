# SPDX-License-Identifier: GPL-3.0-or-later
"""IBM Qiskit Runtime: backend status, sessions, and the jobs that still wait in a session.

The service's exact success codes for sessions are not published; clients accept any below 400.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime, timezone

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spank_qrmi.simulator.answers import RefusalError, read_json_object, refuse_unknown_keys
from spank_qrmi.simulator.iam import bearer_account
from spank_qrmi.simulator.sessions import Job, Session
from spank_qrmi.simulator.site import LARGEST_MAX_TTL_SECONDS, Account, Site

NOT_AUTHORISED = "1200"
DEDICATED_ON_OPEN_PLAN = "1352"
SESSION_KEYS = frozenset({"mode", "max_ttl", "backend", "backend_name"})
JOBS_QUERY_KEYS = frozenset({"pending", "session_id", "limit", "offset"})
LARGEST_PAGE = 200
LARGEST_OFFSET = 1_000_000
LONGEST_NUMBER = 7


class QiskitRuntime:
    """The endpoints that a session's life needs."""

    prefix = "/runtime"

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Return the endpoints, with full paths."""
        base = f"{self.prefix}/api/v1"
        session = f"{base}/sessions/{{session_id}}"
        return [
            Route(f"{base}/backends/{{name}}/status", self._backend_status, methods=["GET"]),
            Route(f"{base}/sessions", self._create_session, methods=["POST"]),
            Route(session, self._show_session, methods=["GET"]),
            Route(session, self._update_session, methods=["PATCH"]),
            Route(f"{session}/close", self._close_session, methods=["DELETE"]),
            Route(f"{base}/jobs", self._list_jobs, methods=["GET"]),
        ]

    def error_body(self, status: int, code: str | None, message: str) -> dict[str, object]:
        """Return an error as the API words it; its codes are numbers."""
        error = {
            "code": int(code) if code else status,
            "message": message,
            "solution": "Check the request.",
            "more_info": "https://docs.simulator.invalid/errors",
        }
        return {"trace": str(uuid.uuid4()), "errors": [error]}

    async def _backend_status(self, request: Request) -> Response:
        self._authorise(request)
        name = request.path_params["name"]
        backend = self._site.qiskit_runtime_backends.get(name)
        if backend is None:
            message = f"Backend {name} not found."
            raise RefusalError(404, message)
        works = backend.status.lower() in {"active", "online"}
        return JSONResponse(
            {
                "state": works,
                "status": backend.status,
                "message": "available" if works else backend.status,
                "length_queue": 0,
                "backend_version": "1.0.0",
            }
        )

    async def _create_session(self, request: Request) -> Response:
        account = self._authorise(request)
        order = await read_json_object(request)
        refuse_unknown_keys(order, SESSION_KEYS)
        mode = _mode(order, account)
        session = self._site.open_session(
            account, self._backend_name(order), mode, _max_ttl_seconds(order)
        )
        return JSONResponse(self._document(session), status_code=201)

    async def _show_session(self, request: Request) -> Response:
        return JSONResponse(self._document(self._session(request)))

    async def _update_session(self, request: Request) -> Response:
        session = self._session(request)
        change = await read_json_object(request)
        accepting = change.get("accepting_jobs")
        if change.keys() != {"accepting_jobs"} or not isinstance(accepting, bool):
            raise RefusalError(400, "the body must be accepting_jobs with true or false")
        if accepting and session.state() == "closed":
            raise RefusalError(409, "a closed session takes no jobs")
        session.set_accepting_jobs(accepting, self._site.now())
        return Response(status_code=204)

    async def _close_session(self, request: Request) -> Response:
        session = self._session(request)
        if await request.body():
            raise RefusalError(400, "closing a session takes no body")
        session.cancel(self._site.now())
        return Response(status_code=204)

    async def _list_jobs(self, request: Request) -> Response:
        account = self._authorise(request)
        query = request.query_params
        refuse_unknown_keys(query, JOBS_QUERY_KEYS)
        limit = _query_integer(query, "limit", 10, (1, LARGEST_PAGE))
        offset = _query_integer(query, "offset", 0, (0, LARGEST_OFFSET))
        pending = _wanted_pending(query)
        # The service answers an unknown session with an empty list, not with 404.
        found = [
            _job_document(job, session)
            for session in self._site.sessions()
            if session.service_crn == account.service_crn
            and query.get("session_id", session.session_id) == session.session_id
            for job in session.jobs
            if pending in (None, job.is_pending())
        ]
        page = found[offset : offset + limit]
        return JSONResponse({"jobs": page, "count": len(found), "offset": offset, "limit": limit})

    def _authorise(self, request: Request) -> Account:
        account = bearer_account(request, self._site)
        if account is None:
            message = "You are not authorized to perform this action."
            raise RefusalError(401, message, NOT_AUTHORISED)
        if request.headers.get("service-crn") != account.service_crn:
            raise RefusalError(403, "The account may not use this instance.", NOT_AUTHORISED)
        return account

    def _session(self, request: Request) -> Session:
        account = self._authorise(request)
        session = self._site.session(request.path_params["session_id"])
        if session is None or session.service_crn != account.service_crn:
            raise RefusalError(404, "Session not found.")
        return session

    def _backend_name(self, order: Mapping[str, object]) -> str:
        name = order.get("backend", order.get("backend_name"))
        if not isinstance(name, str) or order.get("backend_name", name) != name:
            raise RefusalError(400, "backend and backend_name must name one backend")
        if name not in self._site.qiskit_runtime_backends:
            raise RefusalError(404, "Backend not found.")
        return name

    def _document(self, session: Session) -> dict[str, object]:
        document: dict[str, object] = {
            "id": session.session_id,
            "backend_name": session.backend_name,
            "mode": session.mode,
            "state": session.state(),
            "accepting_jobs": session.accepting_jobs,
            "max_ttl": session.max_ttl_seconds,
            "active_ttl": session.active_ttl_seconds(self._site.now()),
            "created_at": _timestamp(session.created_at),
        }
        if session.closed_at is not None:
            document["closed_at"] = _timestamp(session.closed_at)
        return document


def _mode(order: Mapping[str, object], account: Account) -> str:
    mode = order.get("mode")
    if mode not in ("dedicated", "batch"):
        raise RefusalError(400, "mode must be dedicated or batch")
    if mode == "dedicated" and account.is_open_plan:
        message = "You are not authorized to run a session when using the open plan."
        raise RefusalError(400, message, DEDICATED_ON_OPEN_PLAN)
    return str(mode)


def _max_ttl_seconds(order: Mapping[str, object]) -> int:
    value = order.get("max_ttl", LARGEST_MAX_TTL_SECONDS)
    # A JSON true is an int in Python, but no number of seconds.
    if isinstance(value, bool) or not isinstance(value, int):
        raise RefusalError(400, "max_ttl must be an integer")
    if not 1 <= value <= LARGEST_MAX_TTL_SECONDS:
        message = f"max_ttl must be between 1 and {LARGEST_MAX_TTL_SECONDS}"
        raise RefusalError(400, message)
    return value


def _query_integer(
    query: Mapping[str, str], key: str, default: int, bounds: tuple[int, int]
) -> int:
    text = query.get(key, str(default))
    # The length first: Python refuses to convert very long numbers.
    is_short_number = len(text) <= LONGEST_NUMBER and text.isdecimal()
    if not is_short_number or not bounds[0] <= int(text) <= bounds[1]:
        message = f"{key} must be an integer between {bounds[0]} and {bounds[1]}"
        raise RefusalError(400, message)
    return int(text)


def _wanted_pending(query: Mapping[str, str]) -> bool | None:
    text = query.get("pending")
    if text not in (None, "true", "false"):
        raise RefusalError(400, "pending must be true or false")
    return None if text is None else text == "true"


def _job_document(job: Job, session: Session) -> dict[str, object]:
    return {
        "id": job.job_id,
        "backend": session.backend_name,
        "session_id": session.session_id,
        "state": {"status": job.status},
        "status": job.status,
        "program": {"id": "sampler"},
        "created": _timestamp(job.created_at),
        "cost": 0,
    }


def _timestamp(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, tz=timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
