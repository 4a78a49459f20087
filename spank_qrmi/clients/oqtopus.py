# SPDX-License-Identifier: GPL-3.0-or-later
"""OQTOPUS (`oqtopus`): a device that takes jobs without a session.

Owns its variables (QRMI_OQTOPUS_URL and …_API_TOKEN) and the one question that is asked; the other
QRMI_OQTOPUS_* variables are the user's program's.
"""

from collections.abc import Mapping
from typing import ClassVar

from spank_qrmi.clients.base import Exchange, ReadTo, Settings, UnheldClient, path_segment
from spank_qrmi.clients.key_service import KeyService
from spank_qrmi.clients.response import whole_number
from spank_qrmi.status import QpuState, QpuStatus, state_of_word

_URL_KEY = "QRMI_OQTOPUS_URL"
_TOKEN_KEY = "QRMI_OQTOPUS_API_TOKEN"  # noqa: S105 (a name)
_PROGRAM_KEYS = (
    *("PROXY", "TIMEOUT", "RETRY_MAX_ATTEMPTS", "RETRY_BACKOFF_SECONDS"),
    *("RETRY_STATUS_CODES", "RETRY_METHODS"),
)


class Oqtopus(UnheldClient):
    """One device."""

    keys: ClassVar[Mapping[str, ReadTo]] = {
        _URL_KEY: ReadTo.ACQUIRE,
        _TOKEN_KEY: ReadTo.ACQUIRE,
        **{f"QRMI_OQTOPUS_{key}": ReadTo.RUN for key in _PROGRAM_KEYS},
    }
    sent_to: ClassVar[Mapping[str, tuple[str, ...]]] = {_URL_KEY: (_TOKEN_KEY,)}

    def __init__(self, settings: Settings) -> None:
        self.resource_name = settings.resource_name
        self._service = KeyService.from_settings(settings, _URL_KEY, _TOKEN_KEY, "q-api-token")
        self._path = f"/devices/{path_segment(settings.resource_name)}"

    def status(self, exchange: Exchange) -> QpuStatus:
        """Ask for the device, which is `available` or not (OQTOPUS Cloud, GET /devices/{name})."""
        response = self._service.get(exchange, self._path)
        self._service.check_success(response)
        device = response.json_object(self._service.endpoint_variable)
        word = response.shown(device.get("status"))
        is_available = word == "available"
        return QpuStatus(
            QpuState.ONLINE if is_available else state_of_word(word),
            "" if is_available else f"the device's status is {word or 'not given'}",
            waiting_jobs=whole_number(device.get("n_pending_jobs")),
            calibrated_at=response.shown(device.get("calibrated_at")),
            available_at=response.shown(device.get("available_at")),
        )
