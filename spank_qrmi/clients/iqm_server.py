# SPDX-License-Identifier: GPL-3.0-or-later
"""IQM Server (`iqm-server`): a quantum computer that takes jobs without a session.

Owns its variables (QRMI_IQM_ISA_*) and the one question that is asked; the documents of its servers
differ, so that no more is demanded of one than decides.
"""

from collections.abc import Mapping
from typing import ClassVar

from spank_qrmi.clients.base import Exchange, ReadTo, Settings, UnheldClient, path_segment
from spank_qrmi.clients.key_service import KeyService
from spank_qrmi.clients.response import Response, error_code, whole_number
from spank_qrmi.status import QpuState, QpuStatus, state_of_word

_ENDPOINT = "QRMI_IQM_ISA_ENDPOINT"
_TOKEN = "QRMI_IQM_ISA_TOKEN"  # noqa: S105 (a name)
_ONLINE = "online"

_REFUSALS: Mapping[str, tuple[QpuState, str]] = {
    "timeslot_required": (QpuState.BUSY, "it is reserved for those who have booked a timeslot"),
    "no_booked_timeslots": (
        QpuState.BUSY,
        "it is reserved, and no timeslot of yours is booked now",
    ),
    "quota_exceeded": (QpuState.OFFLINE, "the account's quota is used up"),
    "not_enough_credits": (QpuState.OFFLINE, "the account has not enough credits"),
}
"""By the server's code, why a token that is good is refused all the same."""


class IqmServer(UnheldClient):
    """One quantum computer."""

    keys: ClassVar[Mapping[str, ReadTo]] = dict.fromkeys((_ENDPOINT, _TOKEN), ReadTo.ACQUIRE)
    sent_to: ClassVar[Mapping[str, tuple[str, ...]]] = {_ENDPOINT: (_TOKEN,)}

    def __init__(self, settings: Settings) -> None:
        self.resource_name = settings.resource_name
        self._service = KeyService.from_settings(
            settings, _ENDPOINT, _TOKEN, "Authorization", "Bearer "
        )
        # A colon, which no name of a variable can have, is written as an underscore.
        name = ":".join(settings.resource_name.rsplit("_", 1))
        self._path = f"/api/v1/quantum-computers/{path_segment(name).replace('%3A', ':')}"

    def status(self, exchange: Exchange) -> QpuStatus:
        """Ask if it is online and healthy (IQM Server, GET /api/v1/quantum-computers/{name})."""
        response = self._service.get(exchange, self._path)
        code = None if response.is_success else error_code(response)
        if isinstance(code, str) and code in _REFUSALS:
            state, reason = _REFUSALS[code]
            text = f"{response.source} answered {response.status_text()}"
            return QpuStatus(state, f"{reason}: {text}")
        self._service.check_success(response)
        document = response.json_object(self._service.endpoint_variable)
        health = _health(document)
        state, reason = _state(response, document, health)
        return QpuStatus(
            state,
            reason,
            waiting_jobs=whole_number(document.get("queue_length")),
            facts_at=response.shown(health.get("updated_at")),
        )


def _health(document: Mapping[str, object]) -> Mapping[str, object]:
    """Return the health, which older servers have below `status`; empty if there is none."""
    status = document.get("status")
    inner = status.get("health") if isinstance(status, dict) else None
    health = document.get("health") or inner
    return health if isinstance(health, dict) else {}


def _state(
    response: Response, document: Mapping[str, object], health: Mapping[str, object]
) -> tuple[QpuState, str]:
    """Return the state, and why it is not online."""
    words = (document.get(key) for key in ("operational", "operational_status"))
    word = next((each for each in words if each is not None), _ONLINE)
    if word != _ONLINE:
        shown = response.shown(word)
        return state_of_word(shown), f"the quantum computer's state is {shown or 'not given'}"
    if "healthy" not in health:
        reason = "the service tells no health of the quantum computer, as during maintenance"
        return QpuState.PAUSED, reason
    if health["healthy"] is not True:
        return QpuState.OFFLINE, "the quantum computer is not healthy"
    return QpuState.ONLINE, ""
