# SPDX-License-Identifier: GPL-3.0-or-later
"""Pasqal Cloud: the public list of devices, which needs no authentication."""

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spank_qrmi.simulator.answers import refuse_unknown_keys
from spank_qrmi.simulator.site import Site


class PasqalCloud:
    """The device endpoint."""

    prefix = "/pasqal"

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Return the endpoints, with full paths."""
        path = f"{self.prefix}/core-fast/api/v1/devices"
        return [Route(path, self._list_devices, methods=["GET"])]

    def error_body(self, status: int, code: str | None, message: str) -> dict[str, object]:
        """Return an error; the service's own shape is not published, its success envelope is."""
        return {"status": "fail", "code": code or str(status), "message": message}

    async def _list_devices(self, request: Request) -> Response:
        refuse_unknown_keys(request.query_params, frozenset({"device_type"}))
        wanted = request.query_params.get("device_type")
        devices = self._site.devices.values()
        found = [asdict(one) for one in devices if wanted in (None, one.device_type)]
        return JSONResponse({"status": "success", "data": found})
