# SPDX-License-Identifier: GPL-3.0-or-later
"""Pasqal Cloud (`pasqal-cloud`): a device or emulator that takes jobs without a session.

Owns its variables (QRMI_PASQAL_CLOUD_BASE_URL and …_IF_DOWN) and the one question that is asked,
which needs no credentials; the other QRMI_PASQAL_CLOUD_* variables are the user's program's.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar

from spank_qrmi.clients.base import Exchange, ReadTo, Settings, UnheldClient
from spank_qrmi.errors import AcquisitionError
from spank_qrmi.status import QpuState, QpuStatus, state_of_word

_BASE_URL_KEY = "QRMI_PASQAL_CLOUD_BASE_URL"
_DEFAULT_BASE_URL = "https://apis.pasqal.cloud"
_IF_DOWN_KEY = "QRMI_PASQAL_CLOUD_IF_DOWN"
_ACCEPT, _REFUSE = "accept", "refuse"
_PROGRAM_KEYS = ("PROJECT_ID", "AUTH_TOKEN", "AUTH_ENDPOINT", "CLIENT_ID", "CLIENT_SECRET")


class PasqalCloud(UnheldClient):
    """One Pasqal Cloud device."""

    keys: ClassVar[Mapping[str, ReadTo]] = {
        _BASE_URL_KEY: ReadTo.ACQUIRE,
        _IF_DOWN_KEY: ReadTo.ACQUIRE,
        **{f"QRMI_PASQAL_CLOUD_{key}": ReadTo.RUN for key in _PROGRAM_KEYS},
        "PASQAL_CONFIG_ROOT": ReadTo.RUN,
    }
    sent_to: ClassVar[Mapping[str, tuple[str, ...]]] = {_BASE_URL_KEY: ()}

    def __init__(self, settings: Settings) -> None:
        self.resource_name = settings.resource_name
        self._device_type = settings.resource_name.upper()
        is_default = settings.get(_BASE_URL_KEY) is None
        self._base_url = _DEFAULT_BASE_URL if is_default else settings.require_url(_BASE_URL_KEY)
        self._base_url_variable = settings.variable(_BASE_URL_KEY)
        self._if_down = (settings.get(_IF_DOWN_KEY) or _ACCEPT).lower()
        if self._if_down not in {_ACCEPT, _REFUSE}:
            raise AcquisitionError(
                f"{settings.variable(_IF_DOWN_KEY)} must be {_ACCEPT} or {_REFUSE}"
            )

    def status(self, exchange: Exchange) -> QpuStatus:
        """Ask if the device is active (Pasqal Cloud, GET /core-fast/api/v1/devices).

        One that is down for a while takes jobs and runs them later, unless that is to be refused.
        """
        response = exchange.http.request(
            "GET",
            f"{self._base_url}/core-fast/api/v1/devices",
            headers={},
            query={"device_type": self._device_type},
            is_repeatable=True,
        )
        if not response.is_success:
            is_missing = response.status == HTTPStatus.NOT_FOUND
            hint = f"; check {self._base_url_variable}" if is_missing else ""
            raise AcquisitionError(f"{response.source} answered {response.status_text()}{hint}")
        devices = response.json_object(self._base_url_variable).get("data")
        if not isinstance(devices, list) or not all(isinstance(each, dict) for each in devices):
            raise response.unusable_error("holds no list of devices")
        if not devices:
            raise AcquisitionError(f"the service knows no device of type {self._device_type}")
        device = devices[0]
        availability = response.shown(device.get("availability"))
        if availability != "ACTIVE":
            reason = f"the device's availability is {availability or 'not given'}"
            return QpuStatus(state_of_word(availability), reason)
        if device.get("status", "UP") == "UP":
            return QpuStatus(QpuState.ONLINE)
        status = response.shown(device.get("status"))
        reason = f"the device's status is {status or 'not given'}"
        if self._if_down == _REFUSE:
            return QpuStatus(state_of_word(status), reason)
        return QpuStatus(QpuState.ONLINE, f"{reason}: its jobs may wait")
