# SPDX-License-Identifier: GPL-3.0-or-later
"""IBM Direct Access, now called the Quantum System API: its versions, backends and their lanes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spank_qrmi_simulator import ibm_backends
from spank_qrmi_simulator.answers import Offer, RefusalError, Vendor
from spank_qrmi_simulator.iam import ibm_environment
from spank_qrmi_simulator.ibm_backends import Backend
from spank_qrmi_simulator.object_store import ACCESS_KEY_ID, SECRET_ACCESS_KEY, ObjectStore
from spank_qrmi_simulator.quantum_system_access import AppId, authorise
from spank_qrmi_simulator.quantum_system_errors import (
    BACKEND_NOT_FOUND,
    CODES_OF_STATUSES,
    error_document,
    error_entry,
)
from spank_qrmi_simulator.quantum_system_jobs import QuantumSystemJobs
from spank_qrmi_simulator.site import APP_ID_SECRET, Site

VERSIONS = ("2025-08-01", "2025-08-15")
OF_NEWER_TYPE = ("ibm_kingston", "test_eagle")
"""Backends that are offered by the service's newer name, all others by the older one."""
LANES_OF_THE_CLOUD = 2
"""Lanes that the service keeps for IBM's cloud; no job of ours runs there."""


class QuantumSystem(Vendor):
    """The service; its jobs have a module of their own."""

    prefix = "/direct-access"
    secrets: ClassVar[Mapping[str, str]] = {
        "secret of App ID": APP_ID_SECRET,
        "access key id of S3": ACCESS_KEY_ID,
        "secret access key of S3": SECRET_ACCESS_KEY,
        "signed URL": "X-Amz-Signature=",
    }

    def __init__(self, site: Site) -> None:
        self._site = site
        self._app_id = AppId(site)
        self._jobs = QuantumSystemJobs(site)

    def routes(self) -> list[Route]:
        """Return the endpoints, with full paths."""
        base = f"{self.prefix}/v1"
        backend = f"{base}/backends/{{name}}"
        return [
            Route(f"{self.prefix}/version", self._show_version, methods=["GET"]),
            Route(f"{self.prefix}/versions", self._list_versions, methods=["GET"]),
            self._app_id.route(f"{base}/token"),
            Route(f"{base}/backends", self._list_backends, methods=["GET"]),
            Route(backend, self._show_backend, methods=["GET"]),
            Route(f"{backend}/configuration", self._show_configuration, methods=["GET"]),
            Route(f"{backend}/properties", self._show_properties, methods=["GET"]),
            Route(f"{backend}/defaults", self._refuse_defaults, methods=["GET"]),
            Route(f"{backend}/lanes", self._show_lanes, methods=["GET"]),
            *self._jobs.routes(base),
        ]

    def error_body(self, status: int, code: str | None, message: str) -> dict[str, object]:
        """Return an error as the API words it; its codes are strings."""
        entry = error_entry(code or CODES_OF_STATUSES.get(status, str(status)), message)
        return error_document(status, message, [entry])

    def offers(self, base_url: str, store: ObjectStore | None) -> Sequence[Offer]:
        """Return the backends; without `store`, they can be acquired but run nothing."""
        others = [name for name in self._site.quantum_system_backends if name not in OF_NEWER_TYPE]
        offers = []
        for type_name, prefix, names in (
            ("direct-access", "QRMI_IBM_DA_", others),
            ("ibm-quantum-system", "QRMI_IBM_QS_", OF_NEWER_TYPE),
        ):
            environment = ibm_environment(prefix, f"{base_url}{self.prefix}", base_url)
            if store is not None:
                environment |= store.environment(prefix)
            offers.append(Offer(type_name, names, environment))
        return offers

    def machines(self) -> Mapping[str, Backend]:
        """Return the backends."""
        return self._site.quantum_system_backends

    def state(self) -> Mapping[str, object]:
        """Return the backends."""
        return {"quantum_system_backends": {k: asdict(v) for k, v in self.machines().items()}}

    async def _show_version(self, request: Request) -> Response:
        return JSONResponse({"version": VERSIONS[-1]})

    async def _list_versions(self, request: Request) -> Response:
        return JSONResponse({"versions": VERSIONS})

    async def _list_backends(self, request: Request) -> Response:
        authorise(request, self._site)
        backends = self._site.quantum_system_backends.values()
        return JSONResponse({"backends": [_document(backend) for backend in backends]})

    async def _show_backend(self, request: Request) -> Response:
        return JSONResponse(_document(self._backend(request)))

    async def _show_configuration(self, request: Request) -> Response:
        return self._snapshot(request, ibm_backends.configuration)

    async def _show_properties(self, request: Request) -> Response:
        return self._snapshot(request, ibm_backends.properties)

    async def _refuse_defaults(self, request: Request) -> Response:
        self._backend(request)
        raise RefusalError(501, "This backend has no pulse defaults.")

    async def _show_lanes(self, request: Request) -> Response:
        backend = self._backend(request)
        return JSONResponse(
            {
                "hpc_workload_manager": {"lanes": backend.lanes},
                "ibm_quantum_compute": {"lanes": LANES_OF_THE_CLOUD},
            }
        )

    def _backend(self, request: Request) -> Backend:
        authorise(request, self._site)
        name = request.path_params["name"]
        backend = self._site.quantum_system_backends.get(name)
        if backend is None:
            message = f"Backend {name} not found."
            raise RefusalError(404, message, BACKEND_NOT_FOUND)
        return backend

    def _snapshot(self, request: Request, read: Callable[[str], dict[str, object]]) -> Response:
        try:
            return JSONResponse(read(self._backend(request).name))
        except ibm_backends.NoSnapshotError as error:
            raise RefusalError(501, str(error)) from error


def _document(backend: Backend) -> dict[str, object]:
    return {
        "name": backend.name,
        "status": backend.status,
        "locked": backend.locked,
        "message": backend.message or "simulated",
        "version": "1.0.0",
    }
