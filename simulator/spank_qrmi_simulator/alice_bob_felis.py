# SPDX-License-Identifier: GPL-3.0-or-later
"""Alice & Bob Felis: targets and their health, and jobs that end once they have their input.

No program runs: the only outcome is 0, as often as the job has shots. Only what the service's
clients are known to send is accepted.
"""

import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from spank_qrmi_simulator.answers import (
    Offer,
    RefusalError,
    Vendor,
    media_type,
    read_body,
    read_json_object,
    refuse_unknown_keys,
)
from spank_qrmi_simulator.object_store import ObjectStore
from spank_qrmi_simulator.retention import surplus
from spank_qrmi_simulator.site import Site
from spank_qrmi_simulator.timestamps import timestamp

API_KEY = b64encode(b"simulator-user:simulator-felis-password").decode()
JOB_KEYS = frozenset({"inputDataFormat", "outputDataFormat", "target", "inputParams"})
DEFAULT_SHOTS = 1000
LARGEST_SHOTS = 10_000_000


@dataclass
class Target:
    """A chip or an emulator; its status is its health: OK, NOK or OFF."""

    name: str
    status: str = "OK"

    @property
    def target(self) -> str:
        """What requests call it."""
        return self.name.removeprefix("ab_").replace("_", ":", 2).upper()


@dataclass
class FelisJob:
    """A job and what has happened to it, by type and time."""

    job_id: str
    order: Mapping[str, object]
    shots: int
    events: list[tuple[str, float]] = field(default_factory=list)

    @property
    def status(self) -> str:
        """The type of the last event."""
        return self.events[-1][0]


class AliceBobFelis(Vendor):
    """The service's API."""

    prefix = "/felis"
    secrets: ClassVar[Mapping[str, str]] = {
        "Alice & Bob's key": API_KEY,
        "Alice & Bob's password": "simulator-felis-password",
    }

    def __init__(self, site: Site) -> None:
        self._site = site
        self.reset()

    def reset(self) -> None:
        """Go back to the first state."""
        targets = (Target("ab_emu_40q_physical_cats"), Target("ab_qpu_1q_off", "OFF"))
        self._targets = {each.name: each for each in targets}
        self._jobs: dict[str, FelisJob] = {}

    def routes(self) -> list[Route]:
        """Return the endpoints, with full paths."""
        targets, jobs = f"{self.prefix}/v1/targets", f"{self.prefix}/v1/jobs"
        target, job = f"{targets}/{{target}}", f"{jobs}/{{job_id}}"
        return [
            Route(f"{self.prefix}/v1/health/", self._show_health, methods=["GET"]),
            Route(f"{targets}/", self._list_targets, methods=["GET"]),
            Route(f"{target}/health", self._show_target_health, methods=["GET"]),
            Route(f"{target}/availabilities", self._list_availabilities, methods=["GET"]),
            Route(f"{jobs}/", self._create_job, methods=["POST"]),
            Route(job, self._show_job, methods=["GET"]),
            Route(job, self._cancel_job, methods=["DELETE"]),
            Route(f"{job}/input", self._take_input, methods=["POST"]),
            Route(f"{job}/output", self._show_output, methods=["GET"]),
        ]

    def error_body(self, status: int, code: str | None, message: str) -> dict[str, object]:
        """Return an error as the service words it."""
        return {"error": {"code": code or status, "message": message}}

    def offers(self, base_url: str, store: ObjectStore | None) -> Sequence[Offer]:
        """Return the targets."""
        environment = {
            "QRMI_AB_FELIS_BASE_ENDPOINT": f"{base_url}{self.prefix}",
            "QRMI_AB_FELIS_API_KEY": API_KEY,
        }
        return [Offer("alice-bob-felis", self._targets, environment)]

    def machines(self) -> Mapping[str, Target]:
        """Return the targets."""
        return self._targets

    def state(self) -> Mapping[str, object]:
        """Return the targets."""
        return {"alice_bob_targets": {k: asdict(v) for k, v in self._targets.items()}}

    async def _show_health(self, request: Request) -> Response:
        _authorise(request)
        return JSONResponse("OK")

    async def _list_targets(self, request: Request) -> Response:
        _authorise(request)
        return JSONResponse(
            [
                {"name": one.target, "numQubits": 40, "instructions": [], "inputParams": {}}
                for one in self._targets.values()
            ]
        )

    async def _show_target_health(self, request: Request) -> Response:
        return JSONResponse(self._target(request).status)

    async def _list_availabilities(self, request: Request) -> Response:
        target = self._target(request)
        refuse_unknown_keys(request.query_params, frozenset({"limit", "offset"}))
        at = timestamp(self._site.now())
        is_open = target.status == "OK"
        entry = {
            "id": str(uuid.uuid4()),
            "target": target.target,
            "timestamp": at,
            "createdAt": at,
            "enabled": is_open,
            "message": "open" if is_open else "simulated maintenance",
        }
        return JSONResponse([entry])

    async def _create_job(self, request: Request) -> Response:
        _authorise(request)
        order = await read_json_object(request)
        refuse_unknown_keys(order, JOB_KEYS)
        target = self._find(order.get("target"))
        if target is None:
            raise RefusalError(422, "target names no target")
        if target.status != "OK":
            raise RefusalError(409, "The target takes no jobs now.")
        job = FelisJob(str(uuid.uuid4()), order, _shots(order.get("inputParams")))
        self._note(job, "CREATED")
        self._jobs[job.job_id] = job
        for job_id in surplus(self._jobs, lambda _: True):
            del self._jobs[job_id]
        return JSONResponse(_document(job))

    async def _take_input(self, request: Request) -> Response:
        job = self._job(request)
        if media_type(request) != "multipart/form-data":
            raise RefusalError(415, "the body must be multipart/form-data")
        if b'name="input"' not in await read_body(request):
            raise RefusalError(422, "the form has no input")
        if job.status != "CREATED":
            raise RefusalError(409, "The job has its input, or is over.")
        for event in ("INPUT_READY", "EXECUTING", "SUCCEEDED"):
            self._note(job, event)
        return JSONResponse(None)

    async def _show_job(self, request: Request) -> Response:
        return JSONResponse(_document(self._job(request)))

    async def _cancel_job(self, request: Request) -> Response:
        job = self._job(request)
        if job.status == "CREATED":
            self._note(job, "CANCELLED")
        return JSONResponse(_document(job))

    async def _show_output(self, request: Request) -> Response:
        job = self._job(request)
        if job.status != "SUCCEEDED":
            raise RefusalError(409, "The job has no output.")
        return PlainTextResponse(f"0,{job.shots}\n")

    def _note(self, job: FelisJob, event: str) -> None:
        job.events.append((event, self._site.now()))

    def _find(self, target: object) -> Target | None:
        return next((one for one in self._targets.values() if one.target == target), None)

    def _target(self, request: Request) -> Target:
        _authorise(request)
        found = self._find(request.path_params["target"])
        if found is None:
            raise RefusalError(404, "Target not found.")
        return found

    def _job(self, request: Request) -> FelisJob:
        _authorise(request)
        job = self._jobs.get(request.path_params["job_id"])
        if job is None:
            raise RefusalError(404, "Job not found.")
        return job


def _authorise(request: Request) -> None:
    if request.headers.get("authorization") != f"Basic {API_KEY}":
        raise RefusalError(401, "The key is missing or not valid.")


def _shots(parameters: object) -> int:
    shots = parameters.get("nbShots", DEFAULT_SHOTS) if isinstance(parameters, dict) else None
    if type(shots) is not int or not 1 <= shots <= LARGEST_SHOTS:
        message = f"nbShots must be a whole number from 1 to {LARGEST_SHOTS}"
        raise RefusalError(422, message)
    return shots


def _document(job: FelisJob) -> dict[str, object]:
    return {
        **job.order,
        "id": job.job_id,
        "userName": "simulator-user",
        "userId": "1",
        "organizationName": "simulator",
        "events": [{"type": name, "createdAt": timestamp(at)} for name, at in job.events],
        "errors": [],
    }
