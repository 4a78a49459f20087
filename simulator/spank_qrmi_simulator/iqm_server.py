# SPDX-License-Identifier: GPL-3.0-or-later
"""IQM Server: quantum computers, and circuit jobs that end at once, every qubit measured as 0.

Only what the service's clients are known to send is accepted.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spank_qrmi_simulator.answers import (
    Offer,
    RefusalError,
    Vendor,
    read_json_object,
    refuse_unknown_keys,
)
from spank_qrmi_simulator.object_store import ObjectStore
from spank_qrmi_simulator.retention import surplus
from spank_qrmi_simulator.site import Site
from spank_qrmi_simulator.timestamps import timestamp

TOKEN = "simulator-iqm-token"  # noqa: S105 (a made-up one)
ARTIFACTS = ("measurements", "measurement_counts")
MOST_BITS = 2_000_000
"""No server's limit: a job's result is made in memory."""

CODES: Mapping[int, str] = {
    400: "invalid_input",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    413: "request_payload_too_large",
    429: "rate_limit_exceeded",
}


@dataclass
class QuantumComputer:
    """A quantum computer; in any status but `online` nothing is told of its health."""

    name: str
    status: str = "online"
    healthy: bool = True

    @property
    def alias(self) -> str:
        """What requests call it: no variable's name has a colon."""
        return ":".join(self.name.rsplit("_", 1))

    @property
    def computer_id(self) -> str:
        """The same at each start."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, self.name))


@dataclass(frozen=True)
class CircuitJob:
    """A job that has ended; `circuits` are the measured qubits of each circuit, by key."""

    job_id: str
    created_at: float
    computer: QuantumComputer
    shots: int
    circuits: Sequence[Mapping[str, int]]


class IqmServer(Vendor):
    """The server's API."""

    prefix = "/iqm"
    secrets: ClassVar[Mapping[str, str]] = {"IQM's token": TOKEN}

    def __init__(self, site: Site) -> None:
        self._site = site
        self.reset()

    def reset(self) -> None:
        """Go back to the first state."""
        computers = (QuantumComputer("garnet_mock"), QuantumComputer("emerald", "maintenance"))
        self._computers = {each.name: each for each in computers}
        self._jobs: dict[str, CircuitJob] = {}

    def routes(self) -> list[Route]:
        """Return the endpoints, with full paths."""
        computer = f"{self.prefix}/api/v1/quantum-computers/{{qc}}"
        jobs = f"{self.prefix}/api/v1/jobs"
        return [
            Route(computer, self._show_computer, methods=["GET"]),
            Route(f"{computer}/health", self._show_health, methods=["GET"]),
            Route(f"{jobs}/{{qc}}/circuit", self._submit, methods=["POST"]),
            Route(f"{jobs}/{{job_id}}", self._show_job, methods=["GET"]),
            Route(f"{jobs}/{{job_id}}/cancel", self._cancel, methods=["POST"]),
            Route(f"{jobs}/{{job_id}}/artifacts/{{name}}", self._show_artifact, methods=["GET"]),
        ]

    def error_body(self, status: int, code: str | None, message: str) -> dict[str, object]:
        """Return an error as the server words it."""
        return {
            "error_code": code or CODES.get(status, "internal_error"),
            "message": message,
            "request_id": str(uuid.uuid4()),
            "details": {},
        }

    def offers(self, base_url: str, store: ObjectStore | None) -> Sequence[Offer]:
        """Return the quantum computers."""
        environment = {
            "QRMI_IQM_ISA_ENDPOINT": f"{base_url}{self.prefix}",
            "QRMI_IQM_ISA_TOKEN": TOKEN,
        }
        return [Offer("iqm-server", self._computers, environment)]

    def machines(self) -> Mapping[str, QuantumComputer]:
        """Return the quantum computers."""
        return self._computers

    def state(self) -> Mapping[str, object]:
        """Return the quantum computers."""
        return {"iqm_quantum_computers": {k: asdict(v) for k, v in self._computers.items()}}

    async def _show_computer(self, request: Request) -> Response:
        computer = self._computer(request)
        return JSONResponse(
            {
                "id": computer.computer_id,
                "alias": computer.alias,
                "display_name": computer.name,
                "description": "simulated",
                "backend_type": "qpu",
                "number_of_qubits": 20,
                "pulla_enabled": False,
                "operational": computer.status,
                "health": self._health(computer),
                "queue_length": 0,
                "limits": {
                    "max_executions_per_job": MOST_BITS,
                    "max_instructions_per_circuit": 10_000,
                },
                "pricing": {"payg_price_per_second": "0"},
                "additional_info": {
                    "academy_url": "",
                    "best_suited_for": [],
                    "documentation_url": "",
                    "mock_url": "",
                },
            }
        )

    async def _show_health(self, request: Request) -> Response:
        """Answer clients of every generation."""
        computer = self._computer(request)
        health = self._health(computer)
        flat = health or {"healthy": False, "updated_at": timestamp(self._site.now())}
        return JSONResponse({**flat, "operational": computer.status, "health": health})

    def _health(self, computer: QuantumComputer) -> dict[str, object] | None:
        if computer.status != "online":
            return None
        return {"healthy": computer.healthy, "updated_at": timestamp(self._site.now())}

    async def _submit(self, request: Request) -> Response:
        computer = self._computer(request)
        refuse_unknown_keys(request.query_params, frozenset({"use_timeslot", "tag"}))
        order = await read_json_object(request)
        if self._health(computer) is None or not computer.healthy:
            raise RefusalError(403, "The quantum computer takes no jobs now.")
        circuits = order.get("circuits")
        if not isinstance(circuits, list) or not circuits:
            raise RefusalError(400, "circuits must be a list that is not empty")
        shots = order.get("shots")
        if type(shots) is not int or shots < 1:
            raise RefusalError(400, "shots must be a whole number above 0")
        measured = [_measured(each) for each in circuits]
        if shots * sum(sum(each.values()) for each in measured) > MOST_BITS:
            message = f"the job measures more than {MOST_BITS} bits"
            raise RefusalError(400, message)
        job = CircuitJob(str(uuid.uuid4()), self._site.now(), computer, shots, measured)
        self._jobs[job.job_id] = job
        for job_id in surplus(self._jobs, lambda _: True):
            del self._jobs[job_id]
        return JSONResponse(_document(job))

    async def _show_job(self, request: Request) -> Response:
        known = frozenset({"wait_until_terminal", "timeout_seconds"})
        refuse_unknown_keys(request.query_params, known)
        return JSONResponse(_document(self._job(request)))

    async def _cancel(self, request: Request) -> Response:
        self._job(request)
        raise RefusalError(403, "The job has ended.", "illegal_job_status")

    async def _show_artifact(self, request: Request) -> Response:
        job = self._job(request)
        name = request.path_params["name"]
        if name == "measurements":
            return JSONResponse(
                [
                    {key: [[0] * qubits] * job.shots for key, qubits in measured.items()}
                    for measured in job.circuits
                ]
            )
        if name == "measurement_counts":
            return JSONResponse(
                [
                    {
                        "counts": {"0" * sum(measured.values()): job.shots},
                        "measurement_keys": [*measured],
                    }
                    for measured in job.circuits
                ]
            )
        raise RefusalError(404, "The job has no such artifact.", "artifact_not_found")

    def _computer(self, request: Request) -> QuantumComputer:
        self._authorise(request)
        alias = request.path_params["qc"]
        found = next((one for one in self._computers.values() if one.alias == alias), None)
        if found is None:
            raise RefusalError(404, "No such quantum computer.", "qc_not_found")
        return found

    def _job(self, request: Request) -> CircuitJob:
        self._authorise(request)
        job = self._jobs.get(request.path_params["job_id"])
        if job is None:
            raise RefusalError(404, "No such job.", "job_not_found")
        return job

    def _authorise(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise RefusalError(401, "The token is missing or not valid.")


def _measured(circuit: object) -> Mapping[str, int]:
    """Return how many qubits a circuit measures for each key; raise RefusalError for nonsense."""
    instructions = circuit.get("instructions") if isinstance(circuit, dict) else None
    if not isinstance(instructions, list):
        raise RefusalError(400, "a circuit must be an object with instructions")
    measured: dict[str, int] = {}
    for each in instructions:
        if not isinstance(each, dict):
            raise RefusalError(400, "an instruction must be an object")
        if each.get("name") not in ("measure", "measurement"):
            continue
        # Circuits of older clients name the qubits otherwise.
        qubits, args = each.get("locus", each.get("qubits")), each.get("args")
        key = args.get("key") if isinstance(args, dict) else None
        if not isinstance(qubits, list) or not qubits or not isinstance(key, str):
            raise RefusalError(400, "a measurement needs a locus and a key")
        measured[key] = len(qubits)
    return measured


def _document(job: CircuitJob) -> dict[str, object]:
    at = timestamp(job.created_at)
    return {
        "id": job.job_id,
        "type": "circuit",
        "qc": {"id": job.computer.computer_id, "alias": job.computer.alias},
        "status": "completed",
        "timeline": [
            {"source": "simulator", "status": status, "timestamp": at}
            for status in ("created", "completed")
        ],
        "messages": [],
        "artifacts": [{"type": name} for name in ARTIFACTS],
    }
