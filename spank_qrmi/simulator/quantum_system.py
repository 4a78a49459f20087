# SPDX-License-Identifier: GPL-3.0-or-later
"""IBM Direct Access, now called the Quantum System API: its backends and their state."""

import uuid

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spank_qrmi.simulator.answers import RefusalError
from spank_qrmi.simulator.iam import bearer_account
from spank_qrmi.simulator.site import Backend, Site

NOT_AUTHENTICATED = "1201"
NOT_AUTHORISED = "1200"
BACKEND_NOT_FOUND = "1216"


class QuantumSystem:
    """The backend endpoints."""

    prefix = "/direct-access"

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Return the endpoints, with full paths."""
        base = f"{self.prefix}/v1/backends"
        return [
            Route(base, self._list_backends, methods=["GET"]),
            Route(f"{base}/{{name}}", self._show_backend, methods=["GET"]),
        ]

    def error_body(self, status: int, code: str | None, message: str) -> dict[str, object]:
        """Return an error as the API words it; its codes are strings."""
        error = {
            "code": code or str(status),
            "message": message,
            "more_info": "https://docs.simulator.invalid/errors",
        }
        return {
            "status_code": status,
            "title": message,
            "trace": str(uuid.uuid4()),
            "errors": [error],
        }

    async def _list_backends(self, request: Request) -> Response:
        self._authorise(request)
        backends = self._site.quantum_system_backends.values()
        return JSONResponse({"backends": [_document(backend) for backend in backends]})

    async def _show_backend(self, request: Request) -> Response:
        self._authorise(request)
        name = request.path_params["name"]
        backend = self._site.quantum_system_backends.get(name)
        if backend is None:
            message = f"Backend {name} not found."
            raise RefusalError(404, message, BACKEND_NOT_FOUND)
        return JSONResponse(_document(backend))

    def _authorise(self, request: Request) -> None:
        account = bearer_account(request, self._site)
        if account is None:
            raise RefusalError(401, "The bearer token is missing or not valid.", NOT_AUTHENTICATED)
        if account.is_open_plan or request.headers.get("service-crn") != account.service_crn:
            raise RefusalError(401, "Not authorised for this service instance.", NOT_AUTHORISED)


def _document(backend: Backend) -> dict[str, object]:
    return {
        "name": backend.name,
        "status": backend.status,
        "locked": False,
        "message": "simulated",
        "version": "1.0.0",
    }
