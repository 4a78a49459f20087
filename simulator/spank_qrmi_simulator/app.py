# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the vendors' endpoints, the recording and the faults together into one ASGI application."""

from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from spank_qrmi_simulator.answers import RefusalError, Vendor
from spank_qrmi_simulator.control import Control
from spank_qrmi_simulator.fault_middleware import FaultMiddleware
from spank_qrmi_simulator.recording import RecordingMiddleware
from spank_qrmi_simulator.site import Site
from spank_qrmi_simulator.vendors import VENDORS


def create_app(site: Site) -> Starlette:
    """Return the application that serves `site`; errors take the shape of the path's vendor."""
    vendors = [vendor(site) for vendor in VENDORS]
    parts: list[Vendor | Control] = [*vendors, Control(site, vendors)]

    def error_body(
        path: str, status: int, message: str, code: str | None = None
    ) -> dict[str, object]:
        for part in parts:
            if path.startswith(f"{part.prefix}/"):
                return part.error_body(status, code, message)
        return {"error": message}

    async def refuse(request: Request, error: Exception) -> Response:
        refusal = cast("HTTPException", error)
        code = refusal.code if isinstance(refusal, RefusalError) else None
        body = error_body(request.url.path, refusal.status_code, refusal.detail, code)
        return JSONResponse(body, refusal.status_code, headers=refusal.headers)

    async def note_half_request(request: Request, error: Exception) -> Response:
        # Nobody is there to read this, but for the log and the record.
        return Response(status_code=400)

    app = Starlette(
        routes=[route for part in parts for route in part.routes()],
        middleware=[
            Middleware(RecordingMiddleware, site=site),
            Middleware(FaultMiddleware, site=site, error_body=error_body),
        ],
        exception_handlers={HTTPException: refuse, ClientDisconnect: note_half_request},
    )
    # The services do not forgive a stray slash either.
    app.router.redirect_slashes = False
    return app
