# SPDX-License-Identifier: GPL-3.0-or-later
"""Pasqal Cloud: devices, their specifications, batches, jobs and results.

Devices and public specifications need no authentication, as with the service; all else needs a
bearer token. Only what the service's clients are known to send is accepted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import ClassVar

import orjson
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
from spank_qrmi_simulator.execution.errors import ExecutionError
from spank_qrmi_simulator.object_store import ObjectStore
from spank_qrmi_simulator.pasqal_batches import Batch, BatchJob, Program
from spank_qrmi_simulator.pasqal_devices import DeviceSpecs, is_emulator
from spank_qrmi_simulator.pasqal_login import PasqalLogin
from spank_qrmi_simulator.pasqal_tokens import AUTH_TOKEN, PROJECT_ID
from spank_qrmi_simulator.site import Device, Site

BATCH_KEYS = frozenset({"sequence_builder", "jobs", "device_type", "project_id"})
JOB_KEYS = frozenset({"runs", "variables"})
LARGEST_RUNS = 1_000_000
"""No service's limit: the simulator draws every run."""


class PasqalCloud(Vendor):
    """The service's core API."""

    prefix = "/pasqal"
    secrets: ClassVar[Mapping[str, str]] = {"Pasqal's token": AUTH_TOKEN}

    def __init__(self, site: Site) -> None:
        self._site = site
        self._specs = DeviceSpecs()

    def routes(self) -> list[Route]:
        """Return the endpoints, with full paths."""
        v1 = f"{self.prefix}/core-fast/api/v1"
        v2 = f"{self.prefix}/core-fast/api/v2"
        batch = "batches/{batch_id}"
        return [
            Route(f"{v1}/devices", self._list_devices, methods=["GET"]),
            Route(f"{v1}/devices/public-specs", self._list_specs, methods=["GET"]),
            Route(f"{v1}/devices/specs/{{device_type}}", self._show_specs, methods=["GET"]),
            Route(f"{v1}/batches", self._create_batch, methods=["POST"]),
            Route(f"{v1}/{batch}/full_results", self._show_results, methods=["GET"]),
            Route(f"{v2}/{batch}", self._show_batch, methods=["GET"]),
            Route(f"{v2}/{batch}/cancel", self._cancel_batch, methods=["PATCH"]),
            Route(f"{v2}/jobs/{{job_id}}", self._show_job, methods=["GET"]),
        ]

    def error_body(self, status: int, code: str | None, message: str) -> dict[str, object]:
        """Return an error with the keys that the service's own Python client reads."""
        return {"status": "fail", "code": code or str(status), "message": message}

    def offers(self, base_url: str, store: ObjectStore | None) -> Sequence[Offer]:
        """Return the devices."""
        environment = {
            "QRMI_PASQAL_CLOUD_BASE_URL": f"{base_url}{self.prefix}",
            "QRMI_PASQAL_CLOUD_PROJECT_ID": PROJECT_ID,
            "QRMI_PASQAL_CLOUD_AUTH_TOKEN": AUTH_TOKEN,
            # Read by a job whose user logs in with a name and password of his own.
            "QRMI_PASQAL_CLOUD_AUTH_ENDPOINT": f"{base_url}{PasqalLogin.prefix}/token",
        }
        return [Offer("pasqal-cloud", self._site.devices, environment)]

    def machines(self) -> Mapping[str, Device]:
        """Return the devices."""
        return self._site.devices

    def state(self) -> Mapping[str, object]:
        """Return devices and batches."""
        batches = self._site.pasqal_batches.batches()
        return {
            "pasqal_cloud_devices": {k: asdict(v) for k, v in self.machines().items()},
            "pasqal_cloud_batches": [_shown_batch(batch) for batch in batches],
        }

    async def _list_devices(self, request: Request) -> Response:
        refuse_unknown_keys(request.query_params, frozenset({"device_type"}))
        wanted = request.query_params.get("device_type")
        devices = self._site.devices.values()
        return _success([asdict(one) for one in devices if wanted in (None, one.device_type)])

    async def _list_specs(self, request: Request) -> Response:
        return _success(await self._specs_documents())

    async def _show_specs(self, request: Request) -> Response:
        self._authorise(request)
        device_type = request.path_params["device_type"]
        documents = await self._specs_documents()
        found = next((one for one in documents if one["device_type"] == device_type), None)
        if found is None:
            message = f"No specifications of the device type {device_type}."
            raise RefusalError(404, message)
        return _success(found)

    async def _create_batch(self, request: Request) -> Response:
        self._authorise(request)
        order = await read_json_object(request)
        refuse_unknown_keys(order, BATCH_KEYS)
        if order.get("project_id") != PROJECT_ID:
            raise RefusalError(403, "No access to this project.")
        device_type = self._usable_device(order.get("device_type"))
        sequence = _sequence(order.get("sequence_builder"))
        jobs = order.get("jobs")
        if not isinstance(jobs, list) or not jobs:
            raise RefusalError(422, "jobs must be a list that is not empty")
        programs = [_program(job, device_type, sequence) for job in jobs]
        batch = self._site.pasqal_batches.submit(device_type, programs)
        document = _batch_document(batch)
        document["jobs"] = [_job_document(batch, job) for job in batch.jobs]
        return _success(document)

    async def _show_batch(self, request: Request) -> Response:
        return _success(_batch_document(self._batch(request)))

    async def _cancel_batch(self, request: Request) -> Response:
        batch = self._batch(request)
        self._site.pasqal_batches.cancel(batch)
        return _success(_batch_document(batch))

    async def _show_results(self, request: Request) -> Response:
        jobs = self._batch(request).jobs
        done = [job for job in jobs if job.counter is not None]
        return _success({job.job_id: {"counter": job.counter} for job in done})

    async def _show_job(self, request: Request) -> Response:
        self._authorise(request)
        found = self._site.pasqal_batches.job(request.path_params["job_id"])
        if found is None:
            raise RefusalError(404, "Job not found.")
        return _success(_job_document(*found))

    async def _specs_documents(self) -> list[dict[str, str]]:
        types = [name for name in self._site.devices if not is_emulator(name)]
        try:
            specs = await self._specs.of(types)
        except ExecutionError as error:
            raise RefusalError(503, str(error)) from error
        return [{"device_type": name, "specs": text} for name, text in specs.items()]

    def _authorise(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._site.pasqal_tokens.is_valid(token.strip()):
            raise RefusalError(401, "The bearer token is missing or not valid.")

    def _batch(self, request: Request) -> Batch:
        self._authorise(request)
        batch = self._site.pasqal_batches.batch(request.path_params["batch_id"])
        if batch is None:
            raise RefusalError(404, "Batch not found.")
        return batch

    def _usable_device(self, device_type: object) -> str:
        device = self._site.devices.get(device_type) if isinstance(device_type, str) else None
        if device is None:
            raise RefusalError(422, "device_type names no device")
        # Whether the service refuses or waits is not known; who tries us out should not wait.
        if (device.status, device.availability) != ("UP", "ACTIVE"):
            raise RefusalError(400, "The device takes no batches now.")
        return device.device_type


def _success(data: object) -> Response:
    return JSONResponse({"status": "success", "message": "OK.", "code": 200, "data": data})


def _sequence(text: object) -> str:
    try:
        document = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(text, str) or not isinstance(document, dict):
        raise RefusalError(422, "sequence_builder must be the JSON text of a sequence")
    return text


def _program(job: object, device_type: str, sequence: str) -> Program:
    if not isinstance(job, Mapping):
        raise RefusalError(422, "a job must be an object")
    refuse_unknown_keys(job, JOB_KEYS)
    runs, variables = job.get("runs"), job.get("variables") or {}
    if type(runs) is not int or not 1 <= runs <= LARGEST_RUNS:
        message = f"runs must be a whole number from 1 to {LARGEST_RUNS}"
        raise RefusalError(422, message)
    if not isinstance(variables, dict):
        raise RefusalError(422, "variables must be an object")
    return Program(device_type, sequence, runs, variables)


def _shown_batch(batch: Batch) -> dict[str, object]:
    return {
        "id": batch.batch_id,
        "device_type": batch.device_type,
        "status": batch.status(),
        "jobs": [
            {"id": job.job_id, "status": job.status, "runs": job.program.runs, "errors": job.errors}
            for job in batch.jobs
        ],
    }


def _batch_document(batch: Batch) -> dict[str, object]:
    return {
        "id": batch.batch_id,
        "status": batch.status(),
        "device_type": batch.device_type,
        "project_id": PROJECT_ID,
        "open": False,
        "complete": True,
        "created_at": _timestamp(batch.created_at),
        "job_ids": [job.job_id for job in batch.jobs],
        "jobs_count": len(batch.jobs),
    }


def _job_document(batch: Batch, job: BatchJob) -> dict[str, object]:
    return {
        "id": job.job_id,
        "batch_id": batch.batch_id,
        "project_id": PROJECT_ID,
        "status": job.status,
        "runs": job.program.runs,
        "variables": job.program.variables,
        "errors": job.errors,
        "created_at": _timestamp(job.created_at),
        "start_timestamp": _timestamp(job.started_at),
        "end_timestamp": _timestamp(job.ended_at),
    }


def _timestamp(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
