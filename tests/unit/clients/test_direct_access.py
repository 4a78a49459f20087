# SPDX-License-Identifier: GPL-3.0-or-later
"""Direct Access: the one question, and what each answer means."""

import httpx
import pytest

from spank_qrmi.clients.direct_access import DirectAccess, IbmQuantumSystem
from spank_qrmi.errors import AcquisitionError, QrmiError
from spank_qrmi.status import QpuState
from tests.unit.fake_services import (
    BEARER_TOKEN,
    SERVICE_CRN,
    FakeService,
    Reply,
    complaint,
    nested_reply,
    reply,
)
from tests.unit.local_network import asking
from tests.unit.outcomes import outcome_of
from tests.unit.vendors import DIRECT_ACCESS, QUANTUM_SYSTEM, changed

GET = "GET /base/v1/backends/ibm_x"
PREFIX = "ibm_x_QRMI_IBM_DA_"
SOURCE = "https://api.test:443/base/v1/backends/ibm_x answered"
NO_STATUS = "not accessible: the service gives no status of the backend"
ONLINE = reply(json={"status": "online"})


def client_of(service: FakeService, name: str = "ibm_x") -> asking:
    return asking(DirectAccess(changed(DIRECT_ACCESS, name)), service.http())


def system_of(**answers: Reply) -> asking:
    """Return a quantum system's client; its backend is online, unless told otherwise."""
    paths = {"backend": GET, "lanes": f"{GET}/lanes", "jobs": "GET /base/v1/jobs"}
    told = {"backend": ONLINE, **answers}
    service = FakeService({paths[key]: answer for key, answer in told.items()})
    return asking(IbmQuantumSystem(changed(QUANTUM_SYSTEM, "ibm_x")), service.http())


def test_online_backend_is_accessible() -> None:
    service = FakeService({GET: reply(200, {"name": "ibm_x", "status": "online", "locked": False})})
    client_of(service).check_accessible()
    assert service.asked == [GET]
    assert service.requests[1].headers["authorization"] == f"Bearer {BEARER_TOKEN}"
    assert service.requests[1].headers["service-crn"] == SERVICE_CRN


def test_backend_name_is_one_segment_of_the_path() -> None:
    service = FakeService({"GET /base/v1/backends/a%2Fb%3Fc%20%23": ONLINE})
    client_of(service, "a/b?c #").check_accessible()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            {"status": "paused", "message": "maintenance"},
            "not accessible: the backend is paused: maintenance",
        ),
        ({"status": "offline", "message": ""}, "not accessible: the backend is offline"),
        ({"status": "offline", "message": "Offline"}, "not accessible: the backend is offline"),
        (
            {"status": "online", "locked": True, "message": "for a\nb"},
            "busy: the backend is locked: for a?b",
        ),
        ({"status": "a\nb"}, "not accessible: the backend is a?b"),
        ({"status": {"a": 1}, "message": ["x"]}, NO_STATUS),
        ({"name": "ibm_x", "message": "hm"}, f"{NO_STATUS}: hm"),
    ],
)
def test_what_is_not_accessible_has_a_reason(document: object, expected: str) -> None:
    client = client_of(FakeService({GET: reply(json=document)}))
    assert complaint(AcquisitionError, client.check_accessible) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (nested_reply('{"status": ', "}"), NO_STATUS),
        (
            reply(404, {"errors": [{"code": "1216", "message": "not found"}]}),
            f"{SOURCE} 404 Not Found: not found (1216); there is no backend of this name, or "
            f"{PREFIX}ENDPOINT is not the API's address, which may end with /v1",
        ),
        (
            reply(401, {"errors": [{"code": "1201", "message": "bad token"}]}),
            f"{SOURCE} 401 Unauthorized: bad token (1201); check {PREFIX}IAM_APIKEY and "
            f"{PREFIX}SERVICE_CRN",
        ),
        (
            reply(423, {"errors": [{"code": "1233", "message": "reserved by others"}]}),
            f"busy: the backend is reserved; {SOURCE} 423 Locked: reserved by others (1233); gave "
            "up after 5 tries",
        ),
    ],
)
def test_refusal_has_a_reason(answer: httpx.Response, expected: str) -> None:
    client = client_of(FakeService({GET: answer}))
    assert complaint(AcquisitionError, client.check_accessible) == expected


@pytest.mark.parametrize(
    ("lanes", "is_accessible"),
    [
        (reply(200, {"hpc_workload_manager": {"lanes": 3}}), True),
        (reply(200, {"hpc_workload_manager": {"lanes": 0}}), False),
        (reply(200, {"hpc_workload_manager": {"lanes": False}}), True),
        (reply(200, {"hpc_workload_manager": 0, "ibm_quantum_compute": {"lanes": 0}}), True),
        (reply(200, []), True),
        # Services of 2025 do not have it.
        (reply(404), True),
        (reply(500), True),
        (httpx.ReadError("reset"), True),
    ],
    ids=repr,
)
def test_backend_without_a_lane_is_busy(lanes: Reply, *, is_accessible: bool) -> None:
    outcome = outcome_of(system_of(lanes=lanes).check_accessible)
    busy = "busy: the backend has no lane for jobs of workload managers"
    assert (None if outcome is None else str(outcome)) == (None if is_accessible else busy)


def test_state_of_a_backend_is_told_before_its_lanes() -> None:
    lanes = reply(200, {"hpc_workload_manager": {"lanes": 0}})
    client = system_of(backend=reply(200, {"status": "paused"}), lanes=lanes)
    assert complaint(AcquisitionError, client.check_accessible).endswith("the backend is paused")


@pytest.mark.parametrize(
    ("jobs", "state", "free"),
    [
        ([], QpuState.ONLINE, 3),
        ([{"id": "1", "backend": "ibm_x"}, {"id": "2", "backend": "another"}], QpuState.ONLINE, 2),
        # One that does not tell its backend may have a lane of this one.
        ([{"id": "1"}, {"backend": "ibm_x", "status": "Completed"}, {}], QpuState.BUSY, 0),
        ([{}] * 9, QpuState.BUSY, 0),
        (None, QpuState.ONLINE, None),
    ],
    ids=repr,
)
def test_full_status_counts_the_lanes_of_listed_jobs(
    jobs: list[dict[str, str]] | None, state: QpuState, free: int | None
) -> None:
    lanes = reply(200, {"hpc_workload_manager": {"lanes": 3}})
    status = system_of(lanes=lanes, jobs=reply(200, {"jobs": jobs})).full_status()
    assert (status.state, status.free_slots, status.total_slots) == (state, free, 3)
    assert ("its jobs are not told" in status.reason) == (jobs is None)


def test_names_that_would_change_the_url_are_refused() -> None:
    for name in ("", ".", ".."):
        error = outcome_of(client_of, FakeService({}), name)
        assert isinstance(error, QrmiError), name
        assert "cannot be the name of a resource" in str(error), name
