# SPDX-License-Identifier: GPL-3.0-or-later
"""IBM Qiskit Runtime: backends and sessions; its jobs have a module of their own.

The service's exact success codes for sessions are not published; clients accept any below 400.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spank_qrmi_simulator import ibm_backends
from spank_qrmi_simulator.answers import (
    Offer,
    RefusalError,
    Vendor,
    read_body,
    read_json_object,
    refuse_unknown_keys,
)
from spank_qrmi_simulator.iam import ibm_environment
from spank_qrmi_simulator.ibm_backends import Backend
from spank_qrmi_simulator.object_store import ObjectStore
from spank_qrmi_simulator.qiskit_runtime_access import (
    authorise,
    error_document,
    known_backend,
    own_session,
)
from spank_qrmi_simulator.qiskit_runtime_jobs import QiskitRuntimeJobs
from spank_qrmi_simulator.sessions import Session
from spank_qrmi_simulator.site import (
    LARGEST_MAX_TTL_SECONDS,
    SESSION_ID_END,
    Account,
    Site,
)
from spank_qrmi_simulator.timestamps import timestamp

DEDICATED_ON_OPEN_PLAN = "1352"
SESSION_KEYS = frozenset({"mode", "max_ttl", "backend", "backend_name"})
OF_NEWER_TYPE = ("ibm_marrakesh",)
"""Backends that are offered by the service's newer name, all others by the older one."""
DEVICE_STATUSES = {
    "active": "online",
    "online": "online",
    "paused": "paused",
    "maintenance": "paused",
}
"""The list of backends has other words for a status; all that are not here are offline there."""


class QiskitRuntime(Vendor):
    """The service."""

    prefix = "/runtime"
    secrets: ClassVar[Mapping[str, str]] = {"session id": SESSION_ID_END}

    def __init__(self, site: Site) -> None:
        self._site = site
        self._jobs = QiskitRuntimeJobs(site)

    def routes(self) -> list[Route]:
        """Return the endpoints, with full paths."""
        base = f"{self.prefix}/api/v1"
        backend = f"{base}/backends/{{name}}"
        session = f"{base}/sessions/{{session_id}}"
        return [
            Route(f"{base}/backends", self._list_backends, methods=["GET"]),
            Route(f"{backend}/status", self._backend_status, methods=["GET"]),
            Route(f"{backend}/configuration", self._show_configuration, methods=["GET"]),
            Route(f"{backend}/properties", self._show_properties, methods=["GET"]),
            Route(f"{base}/sessions", self._create_session, methods=["POST"]),
            Route(session, self._show_session, methods=["GET"]),
            Route(session, self._update_session, methods=["PATCH"]),
            Route(f"{session}/close", self._close_session, methods=["DELETE"]),
            *self._jobs.routes(base),
        ]

    def error_body(self, status: int, code: str | None, message: str) -> dict[str, object]:
        """Return an error as the API words it."""
        return error_document(status, code, message)

    def offers(self, base_url: str, store: ObjectStore | None) -> Sequence[Offer]:
        """Return the backends."""
        service_url = f"{base_url}{self.prefix}/api/v1"
        others = [name for name in self._site.qiskit_runtime_backends if name not in OF_NEWER_TYPE]
        return [
            Offer(type_name, names, ibm_environment(prefix, service_url, base_url))
            for type_name, prefix, names in (
                ("qiskit-runtime-service", "QRMI_IBM_QRS_", others),
                ("ibm-quantum-compute-service", "QRMI_IBM_QCS_", OF_NEWER_TYPE),
            )
        ]

    def machines(self) -> Mapping[str, Backend]:
        """Return the backends."""
        return self._site.qiskit_runtime_backends

    def state(self) -> Mapping[str, object]:
        """Return the backends."""
        return {"qiskit_runtime_backends": {k: asdict(v) for k, v in self.machines().items()}}

    async def _list_backends(self, request: Request) -> Response:
        authorise(request, self._site)
        backends = self._site.qiskit_runtime_backends.values()
        return JSONResponse({"devices": [self._device_document(one) for one in backends]})

    async def _backend_status(self, request: Request) -> Response:
        backend = self._backend(request)
        works = backend.is_working()
        return JSONResponse(
            {
                "state": works,
                "status": backend.status,
                "message": backend.message or ("available" if works else backend.status),
                "length_queue": self._queue_length(backend),
                "backend_version": "1.0.0",
            }
        )

    async def _show_configuration(self, request: Request) -> Response:
        return self._snapshot(request, ibm_backends.configuration)

    async def _show_properties(self, request: Request) -> Response:
        return self._snapshot(request, ibm_backends.properties)

    async def _create_session(self, request: Request) -> Response:
        account = authorise(request, self._site)
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
        if await read_body(request):
            raise RefusalError(400, "closing a session takes no body")
        session.cancel(self._site.now())
        return Response(status_code=204)

    def _session(self, request: Request) -> Session:
        account = authorise(request, self._site)
        return own_session(self._site, account, request.path_params["session_id"])

    def _backend(self, request: Request) -> Backend:
        authorise(request, self._site)
        return known_backend(self._site, request.path_params["name"])

    def _snapshot(self, request: Request, read: Callable[[str], dict[str, object]]) -> Response:
        try:
            return JSONResponse(read(self._backend(request).name))
        except ibm_backends.NoSnapshotError as error:
            raise RefusalError(501, str(error)) from error

    def _queue_length(self, backend: Backend) -> int:
        jobs = self._site.runtime_jobs.values()
        return sum(job.is_pending() for job in jobs if job.backend_name == backend.name)

    def _device_document(self, backend: Backend) -> dict[str, object]:
        name = DEVICE_STATUSES.get(backend.status.lower(), "offline")
        return {
            "name": backend.name,
            "status": {"name": name, "reason": backend.message or backend.status},
            "queue_length": self._queue_length(backend),
            "is_simulator": False,
        }

    def _backend_name(self, order: Mapping[str, object]) -> str:
        name = order.get("backend", order.get("backend_name"))
        if not isinstance(name, str) or order.get("backend_name", name) != name:
            raise RefusalError(400, "backend and backend_name must name one backend")
        return known_backend(self._site, name).name

    def _document(self, session: Session) -> dict[str, object]:
        document: dict[str, object] = {
            "id": session.session_id,
            "backend_name": session.backend_name,
            "mode": session.mode,
            "state": session.state(),
            "accepting_jobs": session.accepting_jobs,
            "max_ttl": session.max_ttl_seconds,
            "active_ttl": session.active_ttl_seconds(self._site.now()),
            "created_at": timestamp(session.created_at),
            "elapsed_time": session.used_seconds(self._site.now()),
        }
        if session.closed_at is not None:
            document["closed_at"] = timestamp(session.closed_at)
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
