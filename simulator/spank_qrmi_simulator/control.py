# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator's own endpoints: see what happened, order faults, change what the site offers.

No vendor has these; they are never struck by faults and never counted as requests.
"""

from collections.abc import Sequence
from dataclasses import asdict, fields

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spank_qrmi_simulator.answers import RefusalError, Vendor, read_json_object
from spank_qrmi_simulator.faults import FaultError, parse_fault
from spank_qrmi_simulator.jobs import PENDING_STATUSES, Job
from spank_qrmi_simulator.sessions import Session
from spank_qrmi_simulator.site import Site

PREFIX = "/_simulator"
LONGEST_STATUS = 64


class Control:
    """The control endpoints, for a site with these vendors."""

    prefix = PREFIX

    def __init__(self, site: Site, vendors: Sequence[Vendor]) -> None:
        self._site = site
        self._vendors = vendors

    def routes(self) -> list[Route]:
        """Return the endpoints, with full paths."""
        jobs = f"{PREFIX}/sessions/{{session_id}}/jobs"
        return [
            Route(f"{PREFIX}/state", self._show_state, methods=["GET"]),
            Route(f"{PREFIX}/reset", self._reset, methods=["POST"]),
            Route(f"{PREFIX}/faults", self._order_fault, methods=["POST"]),
            Route(f"{PREFIX}/faults", self._clear_faults, methods=["DELETE"]),
            Route(f"{PREFIX}/backends/{{name}}", self._change_backend, methods=["POST"]),
            Route(jobs, self._add_job, methods=["POST"]),
            Route(jobs, self._complete_jobs, methods=["DELETE"]),
        ]

    def error_body(self, status: int, code: str | None, message: str) -> dict[str, object]:
        """Return an error with the text alone; there are no codes here."""
        return {"error": message}

    async def _show_state(self, request: Request) -> Response:
        site = self._site
        return JSONResponse(
            {
                "sessions": [self._document(session) for session in site.sessions()],
                "jobs": [
                    _job_document(job, kind)
                    for kind, jobs in (
                        ("direct-access", site.direct_access_jobs),
                        ("qiskit-runtime", site.runtime_jobs),
                    )
                    for job in jobs.values()
                ],
                "requests": [asdict(record) for record in site.requests],
                "tokens_issued": site.tokens_issued,
                "faults": site.faults.documents(),
            }
            | {key: shown for one in self._vendors for key, shown in one.state().items()}
        )

    async def _reset(self, request: Request) -> Response:
        self._site.reset()
        for vendor in self._vendors:
            vendor.reset()
        return Response(status_code=204)

    async def _order_fault(self, request: Request) -> Response:
        order = await read_json_object(request)
        try:
            fault = parse_fault(order)
        except FaultError as error:
            raise RefusalError(422, str(error)) from error
        self._site.faults.add(fault)
        return JSONResponse(asdict(fault), status_code=201)

    async def _clear_faults(self, request: Request) -> Response:
        self._site.faults.clear()
        return Response(status_code=204)

    async def _change_backend(self, request: Request) -> Response:
        name = request.path_params["name"]
        found = [one.machines()[name] for one in self._vendors if name in one.machines()]
        if not found:
            raise RefusalError(404, "no backend or device has that name")
        known = {field.name for field in fields(found[0])[1:]}
        change = await read_json_object(request)
        if not change or change.keys() - known:
            message = f"the body must hold {' or '.join(sorted(known))}"
            raise RefusalError(422, message)
        for key, value in change.items():
            _check_change(key, value, getattr(found[0], key))
        for key, value in change.items():
            setattr(found[0], key, value)
        return Response(status_code=204)

    async def _add_job(self, request: Request) -> Response:
        session = self._session(request)
        order = await read_json_object(request) if "content-type" in request.headers else {}
        status = order.get("status", "Queued")
        if order.keys() - {"status"} or not isinstance(status, str):
            raise RefusalError(422, "the body may hold a status")
        if status not in PENDING_STATUSES:
            raise RefusalError(422, "status must be Queued or Running")
        if not session.accepting_jobs:
            raise RefusalError(409, "the session accepts no jobs")
        job = self._site.add_job(session, status)
        return JSONResponse({"id": job.job_id, "status": job.status}, status_code=201)

    async def _complete_jobs(self, request: Request) -> Response:
        self._session(request).complete_jobs(self._site.now())
        return Response(status_code=204)

    def _session(self, request: Request) -> Session:
        session = self._site.session(request.path_params["session_id"])
        if session is None:
            raise RefusalError(404, "no such session")
        return session

    def _document(self, session: Session) -> dict[str, object]:
        return {
            "id": session.session_id,
            "service_crn": session.service_crn,
            "backend_name": session.backend_name,
            "mode": session.mode,
            "state": session.state(),
            "accepting_jobs": session.accepting_jobs,
            "max_ttl": session.max_ttl_seconds,
            "active_ttl": session.active_ttl_seconds(self._site.now()),
            "created_at": session.created_at,
            "closed_at": session.closed_at,
            "closed_how": session.closed_how,
            "jobs": [{"id": job.job_id, "status": job.status} for job in session.jobs],
        }


def _check_change(key: str, value: object, old: object) -> None:
    if isinstance(old, bool):
        if not isinstance(value, bool):
            message = f"{key} must be true or false"
            raise RefusalError(422, message)
    elif isinstance(old, int):
        # A JSON true is an int in Python, but no number of lanes.
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            message = f"{key} must be a whole number from 0"
            raise RefusalError(422, message)
    elif not isinstance(value, str) or not 0 < len(value) <= LONGEST_STATUS:
        message = f"{key} must be a short text"
        raise RefusalError(422, message)


def _job_document(job: Job, kind: str) -> dict[str, object]:
    return {
        "id": job.job_id,
        "kind": kind,
        "backend": job.backend_name,
        "program": job.program_id,
        "status": job.status,
        "session_id": job.session_id,
        "reason": job.reason,
    }
