# SPDX-License-Identifier: GPL-3.0-or-later
"""Direct Access: the one question, and what each answer means."""

import httpx
import pytest

from spank_qrmi.clients.direct_access import DirectAccess, IbmQuantumSystem
from spank_qrmi.errors import AcquisitionError, QrmiError, ServiceError
from spank_qrmi.status import QpuState
from tests.unit.fake_services import (
    BEARER_TOKEN,
    SERVICE_CRN,
    FakeService,
    ibm_values,
    nested_reply,
    reply,
    settings_of,
    text_of,
)
from tests.unit.local_network import asking
from tests.unit.outcomes import outcome_of

PREFIX = "QRMI_IBM_DA_"
GET = "GET /base/v1/backends/ibm_x"


pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


def client_of(service: FakeService, name: str = "ibm_x") -> asking:
    return asking(DirectAccess(settings_of(ibm_values(PREFIX), name)), service.http())


def test_online_backend_is_accessible() -> None:
    service = FakeService({GET: reply(200, {"name": "ibm_x", "status": "online", "locked": False})})
    client_of(service).check_accessible()
    assert service.asked == [GET]
    assert service.requests[1].headers["authorization"] == f"Bearer {BEARER_TOKEN}"
    assert service.requests[1].headers["service-crn"] == SERVICE_CRN


def test_backend_name_is_one_segment_of_the_path() -> None:
    service = FakeService(
        {"GET /base/v1/backends/a%2Fb%3Fc%20%23": reply(200, {"status": "online"})}
    )
    client_of(service, "a/b?c #").check_accessible()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            reply(200, {"status": "paused", "message": "maintenance"}),
            "not accessible: the backend is paused: maintenance",
        ),
        (
            reply(200, {"status": "offline", "message": ""}),
            "not accessible: the backend is offline",
        ),
        (
            reply(200, {"status": "online", "locked": True, "message": "for a\nb"}),
            "busy: the backend is locked: for a?b",
        ),
        (reply(200, {"status": "a\nb"}), "not accessible: the backend is a?b"),
        (
            reply(200, {"status": {"a": 1}, "message": ["x"]}),
            "not accessible: the service gives no status of the backend",
        ),
        (
            nested_reply('{"status": ', "}"),
            "not accessible: the service gives no status of the backend",
        ),
        (
            reply(200, {"name": "ibm_x", "message": "hm"}),
            "not accessible: the service gives no status of the backend: hm",
        ),
        (
            reply(404, {"errors": [{"code": "1216", "message": "not found"}]}),
            "https://api.test:443/base/v1/backends/ibm_x answered 404 Not Found: not found (1216); "
            "there is no backend of this name, or ibm_x_QRMI_IBM_DA_ENDPOINT is not the API's "
            "address, which may end with /v1",
        ),
        (
            reply(401, {"errors": [{"code": "1201", "message": "bad token"}]}),
            "https://api.test:443/base/v1/backends/ibm_x answered 401 Unauthorized: bad token "
            "(1201); check ibm_x_QRMI_IBM_DA_IAM_APIKEY and ibm_x_QRMI_IBM_DA_SERVICE_CRN",
        ),
        (
            reply(403),
            "https://api.test:443/base/v1/backends/ibm_x answered 403 Forbidden; the key in "
            "ibm_x_QRMI_IBM_DA_IAM_APIKEY may not use the service instance in "
            "ibm_x_QRMI_IBM_DA_SERVICE_CRN",
        ),
    ],
)
def test_what_is_not_accessible_has_a_reason(answer: httpx.Response, expected: str) -> None:
    with pytest.raises(AcquisitionError) as caught:
        client_of(FakeService({GET: answer})).check_accessible()
    assert text_of(caught.value) == expected


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(200, content=b"<html>"), reply(200, []), reply(500), httpx.ReadError("reset")],
)
def test_unusable_answers_are_the_services_errors(answer: httpx.Response | Exception) -> None:
    with pytest.raises(ServiceError) as caught:
        client_of(FakeService({GET: answer})).check_accessible()
    text_of(caught.value)


def test_reserved_backend_is_busy() -> None:
    answer = reply(423, {"errors": [{"code": "1233", "message": "reserved by others"}]})
    with pytest.raises(AcquisitionError) as caught:
        client_of(FakeService({GET: answer})).check_accessible()
    assert text_of(caught.value) == (
        "busy: the backend is reserved; https://api.test:443/base/v1/backends/ibm_x answered 423 "
        "Locked: reserved by others (1233); gave up after 5 tries"
    )


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
def test_backend_without_a_lane_is_busy(
    lanes: httpx.Response | Exception, *, is_accessible: bool
) -> None:
    service = FakeService({GET: reply(200, {"status": "online"}), f"{GET}/lanes": lanes})
    client = asking(IbmQuantumSystem(settings_of(ibm_values("QRMI_IBM_QS_"))), service.http())
    outcome = outcome_of(client.check_accessible)
    busy = "busy: the backend has no lane for jobs of workload managers"
    assert (None if outcome is None else str(outcome)) == (None if is_accessible else busy)


def test_state_of_a_backend_is_told_before_its_lanes() -> None:
    lanes = reply(200, {"hpc_workload_manager": {"lanes": 0}})
    state = reply(200, {"status": "paused", "message": "maintenance"})
    service = FakeService({GET: state, f"{GET}/lanes": lanes})
    client = asking(IbmQuantumSystem(settings_of(ibm_values("QRMI_IBM_QS_"))), service.http())
    with pytest.raises(AcquisitionError, match="the backend is paused: maintenance"):
        client.check_accessible()


@pytest.mark.parametrize(
    ("jobs", "state", "free"),
    [
        ([], QpuState.ONLINE, 3),
        ([{"id": "1", "backend": "ibm_x"}, {"id": "2", "backend": "another"}], QpuState.ONLINE, 2),
        # One that does not tell its backend may have a lane of this one.
        (
            [{"id": "1"}, {"id": "2", "backend": "ibm_x", "status": "Completed"}, {}],
            QpuState.BUSY,
            0,
        ),
        ([{}] * 9, QpuState.BUSY, 0),
        (None, QpuState.ONLINE, None),
    ],
    ids=repr,
)
def test_full_status_counts_the_lanes_of_listed_jobs(
    jobs: list[dict[str, str]] | None, state: QpuState, free: int | None
) -> None:
    answers = {
        GET: reply(200, {"status": "online"}),
        f"{GET}/lanes": reply(200, {"hpc_workload_manager": {"lanes": 3}}),
        "GET /base/v1/jobs": reply(200, {"jobs": jobs}),
    }
    client = IbmQuantumSystem(settings_of(ibm_values("QRMI_IBM_QS_")))
    status = asking(client, FakeService(answers).http()).full_status()
    assert (status.state, status.free_slots, status.total_slots) == (state, free, 3)
    assert ("its jobs are not told" in status.reason) == (jobs is None)


def test_names_that_would_change_the_url_are_refused() -> None:
    for name in ("", ".", ".."):
        error = outcome_of(client_of, FakeService({}), name)
        assert isinstance(error, QrmiError), name
        assert "cannot be the name of a resource" in str(error), name
