# SPDX-License-Identifier: GPL-3.0-or-later
"""Every resource type as tests know it: a resource, and what its service tells where all is well.

What holds for each vendor is tested with each row, against stand-ins, on a simulated site and by
the fault matrix; a new type is one more at the end.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.base import Client, Settings
from spank_qrmi.errors import AcquisitionError
from tests.unit.fake_services import (
    API_KEY,
    API_URL,
    BASIC_KEY,
    FakeService,
    Reply,
    complaint,
    ibm_values,
    reply,
)
from tests.unit.local_network import asking

JOB_ID = 7
ACQUISITION_TOKEN = "QRMI_JOB_ACQUISITION_TOKEN"

TOKEN = "s-1"
"""What a service here calls what it holds."""

Documents = Mapping[str, object]
"""JSON that a service answers with, by "METHOD /path" of the request."""


@dataclass(frozen=True, eq=False)
class Vendor:
    """One resource type; its resource is one of the simulated site's too.

    Its settings have the keys that it cannot do without, `required`. `check`, `acquire` and
    `release` are all the requests of each in their order, those for access tokens left out; where
    `acquire` has none, the service holds nothing. `sent_to` says where which credentials go, to the
    service itself last; `program_keys` name those that only the user's program sends; `reads` are
    names in other answers than these that its client looks at; with `ends_at_once` a release says
    that nothing is left. The simulated site has the service at `site_path`.
    """

    type_name: str
    settings: Settings
    sent_to: Mapping[str, tuple[str, ...]]
    site_path: str
    check: Documents
    acquire: Documents = field(default_factory=dict)
    release: Documents = field(default_factory=dict)
    program_keys: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    ends_at_once: bool = False

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(self.settings.values)

    @property
    def documents(self) -> Documents:
        return {**self.check, **self.acquire, **self.release}

    @property
    def any_answer(self) -> object:
        """Return one document that answers each request as if all were well."""
        documents = list(self.documents.values())
        objects = [each for each in documents if isinstance(each, dict)]
        return {name: each[name] for each in objects for name in each} or documents[0]

    @property
    def name(self) -> str:
        return self.settings.resource_name

    @property
    def fields(self) -> set[str]:
        """Return all names in answers that its client looks at."""
        return {*_names(list(self.documents.values())), *self.reads}

    @property
    def holds(self) -> bool:
        return bool(self.acquire)

    @property
    def endpoint_key(self) -> str:
        return list(self.sent_to)[-1]

    def on_site(self, documents: Documents) -> list[str]:
        """Return what the simulated site is asked, as "METHOD /path", for these documents."""
        base = httpx.URL(API_URL).path
        requests = (asked.split(" ") for asked in documents)
        paths = ((method, unquote(path.removeprefix(base))) for method, path in requests)
        return [f"{method} {self.site_path}{path}" for method, path in paths]

    def client(self) -> Client:
        return CLIENTS[self.type_name](self.settings)

    def service(self) -> FakeService:
        """Return the service with all well."""
        return FakeService({asked: reply(json=each) for asked, each in self.documents.items()})


def _names(document: object) -> Iterator[str]:
    """Return the names in a JSON document, at any depth."""
    if isinstance(document, Mapping):
        yield from document
        document = list(document.values())
    if isinstance(document, list):
        for each in document:
            yield from _names(each)


def ibm(prefix: str, name: str, *credentials: str) -> dict[str, Any]:
    """Return settings of an IBM type and where they go, some credentials to its service alone."""
    key = f"{prefix}IAM_APIKEY"
    own = (key, f"{prefix}SERVICE_CRN", *credentials)
    sent_to = {f"{prefix}IAM_ENDPOINT": (key,), f"{prefix}ENDPOINT": own}
    return {"settings": Settings(name, ibm_values(prefix)), "sent_to": sent_to}


DIRECT_ACCESS = Vendor(
    "direct-access",
    **ibm("QRMI_IBM_DA_", "ibm_torino"),
    site_path="/direct-access",
    check={"GET /base/v1/backends/ibm_torino": {"status": "online"}},
    program_keys=("QRMI_IBM_DA_AWS_SECRET_ACCESS_KEY", "QRMI_IBM_DA_S3_ENDPOINT"),
)
QISKIT_RUNTIME = Vendor(
    "qiskit-runtime-service",
    **ibm("QRMI_IBM_QRS_", "ibm_sherbrooke", "QRMI_IBM_QRS_SESSION_ID", ACQUISITION_TOKEN),
    site_path="/runtime/api/v1",
    check={"GET /base/backends/ibm_sherbrooke/status": {"status": "active"}},
    acquire={"POST /base/sessions": {"id": TOKEN}},
    release={"GET /base/jobs": {"jobs": []}, f"PATCH /base/sessions/{TOKEN}": {}},
)
PASQAL_CLOUD = Vendor(
    "pasqal-cloud",
    Settings("FRESNEL", {}),
    sent_to={"QRMI_PASQAL_CLOUD_BASE_URL": ()},
    site_path="/pasqal",
    check={"GET /core-fast/api/v1/devices": {"data": [{"availability": "ACTIVE"}]}},
    program_keys=("QRMI_PASQAL_CLOUD_AUTH_TOKEN", "QRMI_PASQAL_CLOUD_PROJECT_ID"),
)

QUANTUM_SYSTEM = replace(
    DIRECT_ACCESS,
    type_name="ibm-quantum-system",
    **ibm("QRMI_IBM_QS_", "ibm_kingston"),
    check={
        "GET /base/v1/backends/ibm_kingston": {"status": "online"},
        "GET /base/v1/backends/ibm_kingston/lanes": {"hpc_workload_manager": {"lanes": 3}},
    },
    reads=("locked",),
    program_keys=("QRMI_IBM_QS_AWS_SECRET_ACCESS_KEY", "QRMI_IBM_QS_S3_ENDPOINT_FOR_QSAPI"),
)
QUANTUM_COMPUTE_SERVICE = replace(
    QISKIT_RUNTIME,
    type_name="ibm-quantum-compute-service",
    **ibm("QRMI_IBM_QCS_", "ibm_marrakesh", "QRMI_IBM_QCS_SESSION_ID", ACQUISITION_TOKEN),
    check={"GET /base/backends/ibm_marrakesh/status": {"status": "active"}},
    reads=("length_queue", "elapsed_time", "jobs", "count", "limit"),
)
IQM_SERVER = Vendor(
    "iqm-server",
    Settings("garnet_mock", {"QRMI_IQM_ISA_ENDPOINT": API_URL, "QRMI_IQM_ISA_TOKEN": API_KEY}),
    sent_to={"QRMI_IQM_ISA_ENDPOINT": ("QRMI_IQM_ISA_TOKEN",)},
    site_path="/iqm",
    check={"GET /base/api/v1/quantum-computers/garnet:mock": {"health": {"healthy": True}}},
    reads=(
        *("operational", "operational_status", "status", "updated_at", "queue_length"),
        *("error_code", "message"),
    ),
)
ALICE_BOB_FELIS = Vendor(
    "alice-bob-felis",
    Settings(
        "ab_emu_40q_physical_cats",
        {"QRMI_AB_FELIS_BASE_ENDPOINT": API_URL, "QRMI_AB_FELIS_API_KEY": BASIC_KEY},
    ),
    sent_to={"QRMI_AB_FELIS_BASE_ENDPOINT": ("QRMI_AB_FELIS_API_KEY",)},
    site_path="/felis",
    check={"GET /base/v1/targets/EMU%3A40Q%3APHYSICAL_CATS/health": "OK"},
    reads=("name", "timestamp", "enabled", "message"),
)
OQTOPUS = Vendor(
    "oqtopus",
    Settings("anemone", {"QRMI_OQTOPUS_URL": API_URL, "QRMI_OQTOPUS_API_TOKEN": API_KEY}),
    sent_to={"QRMI_OQTOPUS_URL": ("QRMI_OQTOPUS_API_TOKEN",)},
    site_path="/oqtopus",
    check={"GET /base/devices/anemone": {"status": "available"}},
    program_keys=("QRMI_OQTOPUS_PROXY", "QRMI_OQTOPUS_TIMEOUT"),
    reads=("available_at", "n_pending_jobs", "calibrated_at"),
)

PASQAL_LOCAL = Vendor(
    "pasqal-local",
    Settings("ORION", {"QRMI_WARDEN_URL": API_URL}, has_sites_login=True, uid=1000, job_id=JOB_ID),
    sent_to={"QRMI_URL": (), "QRMI_WARDEN_URL": ()},
    site_path="/warden/1",
    check={"GET /base/accessible": {"is_accessible": True, "message": "ready"}},
    acquire={"POST /base/sessions": {"id": TOKEN}},
    release={f"DELETE /base/sessions/{TOKEN}": {"revoked_at": "2026-11-30T02:00:00Z"}},
    reads=(
        *("detail", "loc", "type", "qpu_slots_available", "qpu_slots_total"),
        *("data", "pagination", "total", "session_id", "execution_time", "shots"),
    ),
    ends_at_once=True,
)

VENDORS: tuple[Vendor, ...] = (
    *(DIRECT_ACCESS, QISKIT_RUNTIME, PASQAL_CLOUD),
    *(QUANTUM_SYSTEM, QUANTUM_COMPUTE_SERVICE),
    *(IQM_SERVER, ALICE_BOB_FELIS, OQTOPUS, PASQAL_LOCAL),
)
"""In the order of their numbers, their places in `CLIENTS`."""

KEYS_OF_USERS = {"QRMI_IBM_QRS_SESSION_ID", "QRMI_IBM_QCS_SESSION_ID", ACQUISITION_TOKEN}
"""Those that name a session of the user's own."""

HOLDERS = tuple(each for each in VENDORS if each.holds)
"""Those whose services hold something for a job."""


def changed(vendor: Vendor, name: str, **values: str) -> Settings:
    """Return the settings of a resource of another name, with some values changed or added."""
    all_values = {**vendor.settings.values, **values}
    return replace(vendor.settings, resource_name=name, values=all_values)


def asking_at(service: FakeService, vendor: Vendor, name: str = "", **values: str) -> asking:
    """Return the client of a vendor's resource, or of one so changed, which asks this service."""
    settings = changed(vendor, name or vendor.name, **values)
    return asking(CLIENTS[vendor.type_name](settings), service.http())


def refusal_by(vendor: Vendor, answers: Mapping[str, Reply | list[Reply]], **values: str) -> str:
    """Return why a vendor's resource is not accessible if its service answers so."""
    client = asking_at(FakeService(answers), vendor, **values)
    return complaint(AcquisitionError, client.check_accessible)


def each_of(vendors: Iterable[Vendor]) -> pytest.MarkDecorator:
    """Parametrise a test by vendors, as `vendor`."""
    return pytest.mark.parametrize("vendor", vendors, ids=lambda each: each.type_name)
