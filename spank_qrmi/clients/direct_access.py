# SPDX-License-Identifier: GPL-3.0-or-later
"""IBM Direct Access, since 2026 Quantum System: a backend that takes jobs without a session.

Owns its variables (QRMI_IBM_DA_*, QRMI_IBM_QS_*) and what is asked about the backend; jobs are the
user's program's business.
"""

import contextlib
from collections.abc import Mapping
from typing import ClassVar

from spank_qrmi.at_once import begin
from spank_qrmi.clients.base import Exchange, ReadTo, Settings, UnheldClient, path_segment
from spank_qrmi.clients.http import RequestOptions
from spank_qrmi.clients.ibm import SERVICE_KEYS, IbmService, endpoints_of
from spank_qrmi.clients.quantum_system import LONGEST_JOB_SECONDS
from spank_qrmi.clients.response import whole_number
from spank_qrmi.errors import AcquisitionError, QrmiError

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
        self._service = IbmService.from_settings(settings, prefix=self.prefix)
        self.login = self._service.login
        self._path = f"/v1/backends/{path_segment(settings.resource_name)}"

    def check_accessible(self, exchange: Exchange) -> None:
        """Return if the backend is online (Direct Access REST, GET /v1/backends/{name})."""
        self._service.check_backend(exchange, self._path, _ACCESSIBLE_STATUSES)


class IbmQuantumSystem(DirectAccess):
    """The same service under its newer name (`ibm-quantum-system`)."""

    prefix = "QRMI_IBM_QS_"
    keys = _keys(prefix, "S3_ENDPOINT_FOR_QSAPI")
    sent_to = endpoints_of(prefix)

    def check_accessible(self, exchange: Exchange) -> None:
        """Return if the backend is online and has a lane for jobs (GET …/lanes)."""
        has_no_lane = begin(lambda: self._has_no_lane(exchange))
        try:
            super().check_accessible(exchange)
        finally:
            # No request outlives the check.
            is_busy = has_no_lane()
        if is_busy:
            raise AcquisitionError("busy: the backend has no lane for jobs of workload managers")

    def _has_no_lane(self, exchange: Exchange) -> bool:
        # Older services have no such route, and a backend that is online works without the answer.
        with contextlib.suppress(QrmiError):
            once = RequestOptions(share=_LANES_SHARE, max_tries=1)
            path = f"{self._path}/lanes"
            response = self._service.request(exchange, "GET", path, is_repeatable=True, **once)
            ours = response.json_object().get("hpc_workload_manager")
            return isinstance(ours, dict) and whole_number(ours.get("lanes")) == 0
        return False
