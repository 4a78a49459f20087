# SPDX-License-Identifier: GPL-3.0-or-later
"""OQTOPUS Cloud: its devices. It takes no jobs: they go by presigned URLs of an object store."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spank_qrmi_simulator.answers import Offer, RefusalError, Vendor
from spank_qrmi_simulator.object_store import ObjectStore
from spank_qrmi_simulator.site import Site
from spank_qrmi_simulator.timestamps import timestamp

API_TOKEN = "simulator-oqtopus-token"  # noqa: S105 (a made-up one)


@dataclass
class OqtopusDevice:
    """A device, `available` or `unavailable`."""

    name: str
    status: str = "available"


class Oqtopus(Vendor):
    """The users' API."""

    prefix = "/oqtopus"
    secrets: ClassVar[Mapping[str, str]] = {"OQTOPUS's token": API_TOKEN}

    def __init__(self, site: Site) -> None:
        self._site = site
        self.reset()

    def reset(self) -> None:
        """Go back to the first state."""
        devices = (OqtopusDevice("anemone"), OqtopusDevice("urchin", "unavailable"))
        self._devices = {each.name: each for each in devices}

    def routes(self) -> list[Route]:
        """Return the endpoints, with full paths."""
        devices = f"{self.prefix}/devices"
        return [
            Route(devices, self._list_devices, methods=["GET"]),
            Route(f"{devices}/{{device_id}}", self._show_device, methods=["GET"]),
        ]

    def error_body(self, status: int, code: str | None, message: str) -> dict[str, object]:
        """Return an error as the service words it."""
        return {"message": message}

    def offers(self, base_url: str, store: ObjectStore | None) -> Sequence[Offer]:
        """Return the devices."""
        environment = {
            "QRMI_OQTOPUS_URL": f"{base_url}{self.prefix}",
            "QRMI_OQTOPUS_API_TOKEN": API_TOKEN,
        }
        return [Offer("oqtopus", self._devices, environment)]

    def machines(self) -> Mapping[str, OqtopusDevice]:
        """Return the devices."""
        return self._devices

    def state(self) -> Mapping[str, object]:
        """Return the devices."""
        return {"oqtopus_devices": {k: asdict(v) for k, v in self._devices.items()}}

    async def _list_devices(self, request: Request) -> Response:
        _authorise(request)
        return JSONResponse([self._document(each) for each in self._devices.values()])

    async def _show_device(self, request: Request) -> Response:
        _authorise(request)
        device = self._devices.get(request.path_params["device_id"])
        if device is None:
            raise RefusalError(404, "device not found")
        return JSONResponse(self._document(device))

    def _document(self, device: OqtopusDevice) -> dict[str, object]:
        now = self._site.now()
        opens = {} if device.status == "available" else {"available_at": timestamp(now + 3600)}
        return {
            "device_id": device.name,
            "device_type": "QPU",
            "status": device.status,
            **opens,
            "n_pending_jobs": 0,
            "n_qubits": 64,
            "basis_gates": ["sx", "rz", "cx"],
            "supported_instructions": ["measure", "barrier"],
            "device_info": "{}",
            "calibrated_at": timestamp(now - 3600),
            "description": "simulated",
        }


def _authorise(request: Request) -> None:
    if request.headers.get("q-api-token") != API_TOKEN:
        raise RefusalError(401, "Unauthorized")
