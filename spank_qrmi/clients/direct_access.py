# SPDX-License-Identifier: GPL-3.0-or-later
"""IBM Direct Access, since 2026 Quantum System: a backend that takes jobs without a session.

Owns its variables (QRMI_IBM_DA_*, QRMI_IBM_QS_*) and what is asked about the backend; jobs are the
user's program's business.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from spank_qrmi.at_once import begin
from spank_qrmi.clients.base import Exchange, ReadTo, Settings, UnheldClient, path_segment
from spank_qrmi.clients.http import RequestOptions
from spank_qrmi.clients.ibm import SERVICE_KEYS, IbmService, endpoints_of
from spank_qrmi.clients.quantum_system import LONGEST_JOB_SECONDS, QuantumSystem
from spank_qrmi.clients.response import whole_number
from spank_qrmi.errors import QrmiError
from spank_qrmi.status import QpuState, QpuStatus

_ACCESSIBLE_STATUSES = frozenset({"online"})

_LANES_SHARE = 1 / 3

_STORE_KEYS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    *("S3_ENDPOINT", "S3_BUCKET", "S3_REGION"),
)


def _keys(prefix: str, *store_keys: str) -> dict[str, ReadTo]:
    return {
        **{f"{prefix}{key}": ReadTo.ACQUIRE for key in SERVICE_KEYS},
        **{f"{prefix}{key}": ReadTo.RUN for key in (*_STORE_KEYS, *store_keys)},
    }


class DirectAccess(UnheldClient):
    """One backend (`direct-access`)."""

    prefix: ClassVar[str] = "QRMI_IBM_DA_"
    keys: ClassVar[Mapping[str, ReadTo]] = _keys(prefix, "S3_ENDPOINT_FOR_DAAPI")
    sent_to: ClassVar[Mapping[str, tuple[str, ...]]] = endpoints_of(prefix)

    # The vendor's client fails on more after it has uploaded the input.
    longest_task_seconds = LONGEST_JOB_SECONDS

    def __init__(self, settings: Settings) -> None:
        self.resource_name = settings.resource_name
        self._service = IbmService.from_settings(settings, prefix=self.prefix)
        self.login = self._service.login
        self._path = f"/v1/backends/{path_segment(settings.resource_name)}"

    def status(self, exchange: Exchange) -> QpuStatus:
        """Ask if the backend is online (Direct Access REST, GET /v1/backends/{name})."""
        return self._service.backend_status(exchange, self._path, _ACCESSIBLE_STATUSES)


class IbmQuantumSystem(DirectAccess):
    """The same service under its newer name (`ibm-quantum-system`)."""

    prefix = "QRMI_IBM_QS_"
    keys = _keys(prefix, "S3_ENDPOINT_FOR_QSAPI")
    sent_to = endpoints_of(prefix)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._jobs = QuantumSystem.from_settings(settings, prefix=self.prefix)

    def status(self, exchange: Exchange) -> QpuStatus:
        """Ask if the backend is online and how many lanes it has for jobs (GET …/lanes)."""
        lane_count = begin(lambda: self._lane_count(exchange))
        try:
            status = super().status(exchange)
        finally:
            # No request outlives the check.
            lanes = lane_count()
        if status.is_online and lanes == 0:
            reason = "the backend has no lane for jobs of workload managers"
            return replace(status, state=QpuState.BUSY, reason=reason, total_slots=0)
        return replace(status, total_slots=lanes)

    def full_status(self, exchange: Exchange) -> QpuStatus:
        """Add how many lanes are free, as far as the login sees the jobs that have one."""
        status = self.status(exchange)
        if not status.is_online or status.total_slots is None:
            return status
        try:
            taken = self._jobs.lanes_taken(exchange, self.resource_name)
        except QrmiError as error:
            return replace(status, reason=f"{status.reason}; its jobs are not told: {error}")
        free = max(0, status.total_slots - taken)
        if free == 0:
            status = replace(status, state=QpuState.BUSY, reason="all lanes are taken")
        return replace(status, free_slots=free)

    def _lane_count(self, exchange: Exchange) -> int | None:
        # Older services have no such route, and a backend that is online works without the answer.
        with contextlib.suppress(QrmiError):
            once = RequestOptions(share=_LANES_SHARE, max_tries=1)
            path = f"{self._path}/lanes"
            response = self._service.request(exchange, "GET", path, is_repeatable=True, **once)
            ours = response.json_object().get("hpc_workload_manager")
            return whole_number(ours.get("lanes")) if isinstance(ours, dict) else None
        return None
