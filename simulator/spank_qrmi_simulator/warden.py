# SPDX-License-Identifier: GPL-3.0-or-later
"""Pasqal's Warden, the middleware of a QPU on premises, in versions 1 and 2: sessions and jobs.

Each version has a QPU of its own; version 2 also tells what jobs have used. Credentials are read as
MUNGE reads them, each but once: an administrator's for sessions and for what jobs have used, for
jobs that of the user whose session it is.
"""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spank_qrmi_simulator.answers import Offer, RefusalError, Vendor, read_json_object
from spank_qrmi_simulator.execution.errors import ExecutionError
from spank_qrmi_simulator.munge import UNDECODABLE
from spank_qrmi_simulator.object_store import ObjectStore
from spank_qrmi_simulator.pasqal_devices import DeviceSpecs
from spank_qrmi_simulator.retention import surplus
from spank_qrmi_simulator.sessions import FOR_EVER_SECONDS, Session
from spank_qrmi_simulator.site import Account, Site
from spank_qrmi_simulator.timestamps import timestamp
from spank_qrmi_simulator.warden_jobs import (
    WardenJob,
    accounts_page,
    atom_count_of,
    job_order_in,
    problem,
)

EVERYBODY = "everybody"
CREDENTIAL_START = "MUNGE:AwQ"
"""How credentials of today's munged begin, with the ciphers that it takes by itself."""
IDLE_SECONDS = 3600
NO_SESSION = "Session not found."


@dataclass
class WardenQpu:
    """A QPU, and how its Warden is set up.

    `munge` is `works`, or the problem that each credential has; `only_user` is the id of the one
    user who may have sessions. If version 2 does not know `DELETE` at a path of a session's, it
    knows that path, or not (`has_session_path`).
    """

    name: str
    is_accessible: bool = True
    message: str = "The QPU is accessible."
    qpu_slots_total: int = 4
    only_user: str = EVERYBODY
    admin_uid: int = 0
    munge: str = "works"
    has_session_path: bool = True


@dataclass(frozen=True)
class Order:
    """What a session was opened for."""

    user_id: str
    job_id: str
    slots: int


class Warden(Vendor):
    """The API of both."""

    prefix = "/warden"
    secrets: ClassVar[Mapping[str, str]] = {"MUNGE credential": CREDENTIAL_START}

    def __init__(self, site: Site) -> None:
        self._site = site
        self._specs = DeviceSpecs()
        self.reset()

    def reset(self) -> None:
        """Go back to the first state."""
        self._qpus = {1: WardenQpu("ORION"), 2: WardenQpu("VEGA")}
        self._orders: dict[str, Order] = {}
        self._jobs: dict[str, WardenJob] = {}
        self._job_ids = itertools.count(1)

    def routes(self) -> list[Route]:
        """Return the endpoints, with full paths."""
        base = f"{self.prefix}/{{version:int}}"
        job = f"{base}/jobs/{{job_id}}"
        return [
            Route(f"{base}/accessible", self._show_access, methods=["GET"]),
            Route(f"{base}/qpu-slots", self._show_slots, methods=["GET"]),
            Route(f"{base}/sessions", self._open_session, methods=["POST"]),
            Route(f"{base}/sessions", self._revoke_by_header, methods=["DELETE"]),
            Route(f"{base}/sessions/{{session_id}}", self._revoke_by_path, methods=["DELETE"]),
            Route(f"{base}/jobs", self._submit, methods=["POST"]),
            Route(f"{base}/jobs", self._list_jobs, methods=["GET"]),
            Route(job, self._show_job, methods=["GET"]),
            # A job that has ended stays as it is.
            Route(f"{job}/cancel", self._show_job, methods=["POST"]),
            Route(f"{job}/logs", self._show_logs, methods=["GET"]),
            Route(f"{base}/accounting/jobs", self._show_accounts, methods=["GET"]),
            Route(f"{base}/qpu/specs", self._show_specs, methods=["GET"]),
        ]

    def error_body(self, status: int, code: str | None, message: str) -> dict[str, object]:
        """Return an error as FastAPI words it."""
        return {"detail": message}

    def offers(self, base_url: str, store: ObjectStore | None) -> Sequence[Offer]:
        """Return the QPUs, each at its Warden."""
        return [
            Offer("pasqal-local", [qpu.name], {"QRMI_WARDEN_URL": f"{base_url}{self.prefix}/{one}"})
            for one, qpu in self._qpus.items()
        ]

    def machines(self) -> Mapping[str, WardenQpu]:
        """Return the QPUs."""
        return {each.name: each for each in self._qpus.values()}

    def state(self) -> Mapping[str, object]:
        """Return the QPUs, and for what their sessions were opened."""
        return {
            "warden_qpus": {each.name: asdict(each) for each in self._qpus.values()},
            "warden_orders": {key: asdict(order) for key, order in self._orders.items()},
        }

    async def _show_access(self, request: Request) -> Response:
        qpu = self._qpu(request)
        return JSONResponse({"is_accessible": qpu.is_accessible, "message": qpu.message})

    async def _show_slots(self, request: Request) -> Response:
        qpu = self._qpu(request)
        if request.path_params["version"] == 1:
            raise RefusalError(404, "Not Found")
        used = sum(order.slots for _, order in self._open_orders(qpu))
        shown = {"total": qpu.qpu_slots_total, "used": used}
        shown["available"] = qpu.qpu_slots_total - used
        return JSONResponse({f"qpu_slots_{kind}": count for kind, count in shown.items()})

    async def _open_session(self, request: Request) -> Response:
        version, qpu = request.path_params["version"], self._qpu(request)
        await self._authorise(request, qpu)
        body = await read_json_object(request)
        order = _order_in(body, "slurm_job_id" if version == 1 else "scheduler_job_id")
        if isinstance(order, list):
            return JSONResponse({"detail": order}, 422)
        if qpu.only_user not in {EVERYBODY, order.user_id}:
            raise RefusalError(403, "User ID not authorized.")
        session = self._admit(qpu, order) if version != 1 else None
        if session is None:
            ttl_seconds = FOR_EVER_SECONDS if version == 1 else IDLE_SECONDS
            account = Account("", f"warden {version}")
            session = self._site.open_session(account, qpu.name, "warden", ttl_seconds)
            self._orders[session.session_id] = order
        return JSONResponse(self._document(session))

    def _admit(self, qpu: WardenQpu, order: Order) -> Session | None:
        """Return the session that a job has already; raise RefusalError if there are no slots."""
        used = 0
        for session, known in self._open_orders(qpu):
            if (known.user_id, known.job_id) == (order.user_id, order.job_id):
                if known.slots != order.slots:
                    raise RefusalError(409, "The session has other QPU slots.")
                return session
            used += known.slots
        if used + order.slots > qpu.qpu_slots_total:
            raise RefusalError(409, "Not enough QPU slots available.")
        return None

    def _open_orders(self, qpu: WardenQpu) -> list[tuple[Session, Order]]:
        """Return the open sessions of a QPU, each with what it was opened for."""
        return [
            (session, self._orders[session.session_id])
            for session in self._site.sessions()
            if session.closed_at is None and session.backend_name == qpu.name
        ]

    async def _revoke_by_path(self, request: Request) -> Response:
        qpu = self._qpu(request)
        if request.path_params["version"] != 1:
            known = qpu.has_session_path
            raise RefusalError(
                405 if known else 404, "Method Not Allowed" if known else "Not Found"
            )
        await self._authorise(request, qpu)
        return self._revoke(qpu, request.path_params["session_id"])

    async def _revoke_by_header(self, request: Request) -> Response:
        qpu = self._qpu(request)
        if request.path_params["version"] == 1:
            raise RefusalError(405, "Method Not Allowed")
        await self._authorise(request, qpu)
        session_id = request.headers.get("x-warden-session")
        return self._revoke(qpu, session_id)

    def _revoke(self, qpu: WardenQpu, session_id: str | None) -> Response:
        session = self._session(qpu, session_id)
        session.cancel(self._site.now())
        return JSONResponse(self._document(session))

    def _session(self, qpu: WardenQpu, session_id: str | None) -> Session:
        if session_id is None:
            raise RefusalError(403, "Missing session.")
        session = self._site.session(session_id)
        if session is None or session.backend_name != qpu.name:
            raise RefusalError(404, NO_SESSION)
        return session

    async def _submit(self, request: Request) -> Response:
        qpu = self._qpu(request)
        user_id = await self._user_id(request, qpu)
        session = self._session(qpu, request.headers.get("x-warden-session"))
        if self._orders[session.session_id].user_id != user_id:
            raise RefusalError(403, "Session belongs to another user.")
        if session.closed_at is not None:
            raise RefusalError(403, "Session has been revoked.")
        order = job_order_in(await read_json_object(request))
        if isinstance(order, list):
            return JSONResponse({"detail": order}, 422)
        atom_count = atom_count_of(order.sequence)
        job_id, now = next(self._job_ids), self._site.now()
        slurm_job_id = self._orders[session.session_id].job_id
        job = WardenJob(
            *(job_id, qpu.name, user_id, now, atom_count, order.shots),
            *(session.session_id, slurm_job_id),
        )
        self._jobs[str(job_id)] = job
        for old_id in surplus(self._jobs, lambda _: True):
            del self._jobs[old_id]
        return JSONResponse(job.document())

    async def _list_jobs(self, request: Request) -> Response:
        qpu = self._qpu(request)
        owner = (qpu.name, await self._user_id(request, qpu))
        jobs = [one for one in self._jobs.values() if (one.qpu_name, one.user_id) == owner]
        return JSONResponse([one.document() for one in jobs])

    async def _show_job(self, request: Request) -> Response:
        return JSONResponse((await self._job(request)).document())

    async def _show_logs(self, request: Request) -> Response:
        job = await self._job(request)
        return JSONResponse({"logs": f"job {job.job_id}: simulated\n"})

    async def _job(self, request: Request) -> WardenJob:
        qpu = self._qpu(request)
        owner = (qpu.name, await self._user_id(request, qpu))
        job = self._jobs.get(request.path_params["job_id"])
        if job is None or (job.qpu_name, job.user_id) != owner:
            raise RefusalError(404, "Job not found.")
        return job

    async def _show_accounts(self, request: Request) -> Response:
        qpu = self._qpu(request)
        if request.path_params["version"] == 1:
            raise RefusalError(404, "Not Found")
        await self._authorise(request, qpu)
        jobs = [one for one in self._jobs.values() if one.qpu_name == qpu.name]
        page = accounts_page(jobs, request.query_params)
        if isinstance(page, list):
            return JSONResponse({"detail": page}, 422)
        return JSONResponse(page)

    async def _show_specs(self, request: Request) -> Response:
        qpu = self._qpu(request)
        await self._user_id(request, qpu)
        try:
            specs = await self._specs.of([qpu.name])
        except ExecutionError as error:
            raise RefusalError(503, str(error)) from error
        return JSONResponse({"specs": specs[qpu.name]})

    def _qpu(self, request: Request) -> WardenQpu:
        qpu = self._qpus.get(request.path_params["version"])
        if qpu is None:
            raise RefusalError(404, "Not Found")
        return qpu

    async def _authorise(self, request: Request, qpu: WardenQpu) -> None:
        """Raise RefusalError unless an administrator asks."""
        if await self._user_id(request, qpu) != str(qpu.admin_uid):
            raise RefusalError(403, "Endpoint restricted to admin user.")

    async def _user_id(self, request: Request, qpu: WardenQpu) -> str:
        """Return who asks; raise RefusalError without a good credential not seen before."""
        credential = request.headers.get("x-munge-cred")
        if credential is None:
            raise RefusalError(401, "Missing MUNGE credential")
        decoded = await asyncio.to_thread(self._site.decode, credential)
        problem = decoded.problem if qpu.munge == "works" else qpu.munge
        if problem == UNDECODABLE.problem:
            raise RefusalError(500, "MUNGE decode failed")
        if problem:
            raise RefusalError(401, f"MUNGE credential {problem}")
        return str(decoded.uid)

    def _document(self, session: Session) -> dict[str, object]:
        revoked_at = session.closed_at
        return {
            "id": session.session_id,
            "user_id": self._orders[session.session_id].user_id,
            "created_at": timestamp(session.created_at),
            "revoked_at": None if revoked_at is None else timestamp(revoked_at),
        }


def _order_in(body: Mapping[str, object], job_key: str) -> Order | list[object]:
    """Return what a body asks for, or all that is wrong with it, as pydantic tells that."""
    problems: list[object] = []
    texts = []
    for key in ("user_id", job_key):
        value = body.get(key)
        if not isinstance(value, str):
            kind = "string_type" if key in body else "missing"
            problems.append(problem(kind, key, body))
        texts.append(str(value))
    slots = body.get("qpu_slots", 1)
    if not isinstance(slots, int) or isinstance(slots, bool) or slots < 1:
        problems.append(problem("int_type", "qpu_slots", slots) | {"ctx": {"ge": 1}})
        slots = 1
    return problems or Order(texts[0], texts[1], slots)
