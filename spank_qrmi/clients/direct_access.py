# SPDX-License-Identifier: GPL-3.0-or-later
"""IBM Direct Access, since 2026 Quantum System: a backend that takes jobs without a session.

Owns its variables (QRMI_IBM_DA_*, QRMI_IBM_QS_*) and the one question that is asked; jobs are the
user's program's business.
"""

from collections.abc import Mapping
from typing import ClassVar

from spank_qrmi.clients.base import Exchange, ReadTo, Settings, UnheldClient, path_segment
from spank_qrmi.clients.ibm import SERVICE_KEYS, IbmService, endpoints_of
from spank_qrmi.clients.quantum_system import LONGEST_JOB_SECONDS

_ACCESSIBLE_STATUSES = frozenset({"online"})

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
