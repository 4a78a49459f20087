# SPDX-License-Identifier: GPL-3.0-or-later
"""Alice & Bob Felis (`alice-bob-felis`): a target that takes jobs without a session.

Owns its variables (QRMI_AB_FELIS_*) and the questions for a target's health; the vendor's own
client asks none.
"""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import ClassVar

from spank_qrmi.clients.base import Exchange, ReadTo, Settings, UnheldClient, path_segment
from spank_qrmi.clients.key_service import KeyService
from spank_qrmi.errors import AcquisitionError, QrmiError
from spank_qrmi.status import QpuState, QpuStatus, state_of_word

_ENDPOINT = "QRMI_AB_FELIS_BASE_ENDPOINT"
_API_KEY = "QRMI_AB_FELIS_API_KEY"


class AliceBobFelis(UnheldClient):
    """One target: a chip or an emulator."""

    keys: ClassVar[Mapping[str, ReadTo]] = dict.fromkeys((_ENDPOINT, _API_KEY), ReadTo.ACQUIRE)
    sent_to: ClassVar[Mapping[str, tuple[str, ...]]] = {_ENDPOINT: (_API_KEY,)}

    def __init__(self, settings: Settings) -> None:
        self.resource_name = settings.resource_name
        service = KeyService.from_settings(settings, _ENDPOINT, _API_KEY, "Authorization", "Basic ")
        self._service = replace(service, secrets=(_password(settings),))
        # Colons, which no name of a variable can have, are written as underscores.
        name = settings.resource_name.removeprefix("ab_")
        self._target = name.replace("_", ":", 2).upper()
        self._path = f"/v1/targets/{path_segment(self._target)}"

    def status(self, exchange: Exchange) -> QpuStatus:
        """Ask for the target's health (Felis, GET /v1/targets/{target}/health).

        A service that does not tell health takes jobs for every target that it does not deny.
        """
        response = self._service.get(exchange, f"{self._path}/health")
        if response.status == HTTPStatus.NOT_FOUND:
            self._check_known(exchange)
            return QpuStatus(QpuState.ONLINE, "the service tells no health")
        self._service.check_success(response)
        health = response.shown(response.json_value(self._service.endpoint_variable))
        if health == "OK":
            return QpuStatus(QpuState.ONLINE, "its health is OK")
        closure = self._closure(exchange)
        return QpuStatus(
            QpuState.PAUSED if closure else state_of_word(health),
            f"the target's health is {health or 'not given'}{f' ({closure})' if closure else ''}",
        )

    def _check_known(self, exchange: Exchange) -> None:
        """Raise AcquisitionError if the service's list of targets lacks this one."""
        response = self._service.get(exchange, "/v1/targets/")
        if response.status != HTTPStatus.NOT_FOUND:
            self._service.check_success(response)
            names = [each.get("name") for each in _objects(response.json_value())]
            if self._target not in names:
                known = response.shown(", ".join(filter(None, map(response.shown, names))))
                raise AcquisitionError(
                    f"the service knows no target {self._target}, but {known or 'none at all'}"
                )

    def _closure(self, exchange: Exchange) -> str:
        """Return what the newest entry on the target's availability says, if it is a closure."""
        # It only explains: without it the health is reason enough.
        with suppress(QrmiError):
            path, query = f"{self._path}/availabilities", {"limit": "20", "offset": "0"}
            response = self._service.get(exchange, path, query=query, max_tries=1, share=0.5)
            entries = _objects(response.json_value())
            newest = max(entries, key=lambda one: response.shown(one.get("timestamp")), default={})
            if newest.get("enabled") is False:
                facts = {"closure of": newest.get("timestamp"), "reason": newest.get("message")}
                return response.shown_facts(facts)
        return ""


def _objects(value: object) -> Sequence[Mapping[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _password(settings: Settings) -> str:
    """Return the password in the key; raise the settings' error if the key is none."""
    key = settings.require_header_value(_API_KEY)
    with suppress(ValueError):
        pair = b64decode(key, validate=True).decode(errors="replace")
        _, colon, password = pair.partition(":")
        if colon:
            return password
    raise settings.failure(
        f"{settings.variable(_API_KEY)} must be user:password in base64, as the vendor gives it"
    )
