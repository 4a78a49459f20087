# SPDX-License-Identifier: GPL-3.0-or-later
"""Every resource type as tests know it: a resource, and what its service tells where all is well.

What holds for each vendor is tested with each row; a new type is one more at the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.base import Client, Settings
from tests.unit.fake_services import FakeService, ibm_values, reply, settings_of

Documents = Mapping[str, Mapping[str, object]]
"""Documents that a service answers with, by "METHOD /path" of the request."""


@dataclass(frozen=True)
class Vendor:
    """One resource type; `required` are the keys of its settings that it cannot do without.

    `check`, `acquire` and `release` are all the requests of each, IAM's for access tokens left out;
    where `acquire` has none, the service holds nothing. `sent_to` says where which credentials go,
    `program_keys` name those that only the user's program sends.
    """

    type_name: str
    settings: Settings
    required: tuple[str, ...]
    sent_to: Mapping[str, tuple[str, ...]]
    check: Documents
    acquire: Documents = field(default_factory=dict)
    release: Documents = field(default_factory=dict)
    program_keys: tuple[str, ...] = ()

    @property
    def documents(self) -> Documents:
        """Return all that the service is asked for."""
        return {**self.check, **self.acquire, **self.release}

    def client(self) -> Client:
        """Return the resource's client."""
        return CLIENTS[self.type_name](self.settings)

    def service(self) -> FakeService:
        """Return the service with all well."""
        return FakeService({asked: reply(json=each) for asked, each in self.documents.items()})


def ibm_endpoints(prefix: str, *credentials: str) -> dict[str, tuple[str, ...]]:
    """Return where an IBM type's credentials go, some of its own to its service alone."""
    key = f"{prefix}IAM_APIKEY"
    own = (key, f"{prefix}SERVICE_CRN", *credentials)
    return {f"{prefix}IAM_ENDPOINT": (key,), f"{prefix}ENDPOINT": own}


DIRECT_ACCESS = Vendor(
    "direct-access",
    settings_of(ibm_values("QRMI_IBM_DA_")),
    required=tuple(ibm_values("QRMI_IBM_DA_")),
    sent_to=ibm_endpoints("QRMI_IBM_DA_"),
    check={"GET /base/v1/backends/ibm_x": {"status": "online"}},
    program_keys=("QRMI_IBM_DA_AWS_SECRET_ACCESS_KEY", "QRMI_IBM_DA_S3_ENDPOINT"),
)
QISKIT_RUNTIME = Vendor(
    "qiskit-runtime-service",
    settings_of(ibm_values("QRMI_IBM_QRS_")),
    required=tuple(ibm_values("QRMI_IBM_QRS_")),
    sent_to=ibm_endpoints("QRMI_IBM_QRS_", "QRMI_IBM_QRS_SESSION_ID", "QRMI_JOB_ACQUISITION_TOKEN"),
    check={"GET /base/backends/ibm_x/status": {"status": "active"}},
    acquire={"POST /base/sessions": {"id": "s-1"}},
    release={"GET /base/jobs": {"jobs": []}, "PATCH /base/sessions/s-1": {}},
)
PASQAL_CLOUD = Vendor(
    "pasqal-cloud",
    settings_of({}, "FRESNEL"),
    required=(),
    sent_to={"QRMI_PASQAL_CLOUD_BASE_URL": ()},
    check={"GET /core-fast/api/v1/devices": {"data": [{"availability": "ACTIVE"}]}},
    program_keys=("QRMI_PASQAL_CLOUD_AUTH_TOKEN", "QRMI_PASQAL_CLOUD_PROJECT_ID"),
)

VENDORS: tuple[Vendor, ...] = (DIRECT_ACCESS, QISKIT_RUNTIME, PASQAL_CLOUD)
"""In the order of their numbers, see `type_number`."""
