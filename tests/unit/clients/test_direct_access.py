# SPDX-License-Identifier: GPL-3.0-or-later
"""Direct Access: the one question, and what each answer means."""

from spank_qrmi.errors import AcquisitionError
from spank_qrmi.status import QpuState
from tests.unit.fake_services import FakeService, Reply, complaint, reply
from tests.unit.local_network import asking
from tests.unit.outcomes import outcome_of
from tests.unit.vendors import DIRECT_ACCESS, QUANTUM_SYSTEM, asking_at, refusal_by

GET = "GET /base/v1/backends/ibm_torino"
SYSTEM = "GET /base/v1/backends/ibm_kingston"
SOURCE = "https://api.test:443/base/v1/backends/ibm_torino answered"
NO_STATUS = "not accessible: the service gives no status of the backend"
ONLINE = reply(json={"status": "online", "locked": False})
NO_LANES = reply(200, {"hpc_workload_manager": {"lanes": 0}})


def system_of(**answers: Reply) -> asking:
    """Return a quantum system's client; its backend is online, unless told otherwise."""
    paths = {"backend": SYSTEM, "lanes": f"{SYSTEM}/lanes", "jobs": "GET /base/v1/jobs"}
    told = {"backend": ONLINE, **answers}
    service = FakeService({paths[key]: answer for key, answer in told.items()})
    return asking_at(service, QUANTUM_SYSTEM)


def test_backend_name_is_one_segment_of_the_path() -> None:
    service = FakeService({"GET /base/v1/backends/a%2Fb%3Fc%20%23": ONLINE})
    asking_at(service, DIRECT_ACCESS, "a/b?c #").check_accessible()


def test_what_is_not_accessible_has_a_reason() -> None:
    for answer, expected in (
        (
            reply(json={"status": "paused", "message": "maintenance"}),
            "not accessible: the backend is paused: maintenance",
        ),
        (
            reply(json={"status": "offline", "message": "Offline"}),
            "not accessible: the backend is offline",
        ),
        (
            reply(json={"status": "online", "locked": True, "message": "for a\nb"}),
            "busy: the backend is locked: for a?b",
        ),
        (reply(json={"status": {"a": 1}, "message": ["x"]}), NO_STATUS),
        (reply(json={"name": "ibm_torino", "message": "hm"}), f"{NO_STATUS}: hm"),
        (
            reply(404, {"errors": [{"code": "1216", "message": "not found"}]}),
            f"{SOURCE} 404 Not Found: not found (1216); there is no backend of this name, or "
            "ibm_torino_QRMI_IBM_DA_ENDPOINT is not the API's address, which may end with /v1",
        ),
        (
            reply(401, {"errors": [{"code": "1201", "message": "bad token"}]}),
            f"{SOURCE} 401 Unauthorized: bad token (1201); check ibm_torino_QRMI_IBM_DA_IAM_APIKEY "
            "and ibm_torino_QRMI_IBM_DA_SERVICE_CRN",
        ),
        (
            reply(423, {"errors": [{"code": "1233", "message": "reserved by others"}]}),
            f"busy: the backend is reserved; {SOURCE} 423 Locked: reserved by others (1233); gave "
            "up after 5 tries",
        ),
    ):
        assert refusal_by(DIRECT_ACCESS, {GET: answer}) == expected, answer.text


def test_backend_without_a_lane_is_busy() -> None:
    lanes: list[Reply] = [
        *(reply(200, {"hpc_workload_manager": {"lanes": number}}) for number in (3, False)),
        reply(200, {"hpc_workload_manager": 0, "ibm_quantum_compute": {"lanes": 0}}),
        # Services of 2025 do not have it.
        *(reply(200, []), reply(404), reply(500)),
    ]
    for each in lanes:
        assert outcome_of(system_of(lanes=each).check_accessible) is None, each
    text = complaint(AcquisitionError, system_of(lanes=NO_LANES).check_accessible)
    assert text == "busy: the backend has no lane for jobs of workload managers"
    # Its own state is told before its lanes.
    client = system_of(backend=reply(200, {"status": "paused"}), lanes=NO_LANES)
    assert complaint(AcquisitionError, client.check_accessible).endswith("the backend is paused")


def test_full_status_counts_the_lanes_of_listed_jobs() -> None:
    for jobs, state, free in (
        ([], QpuState.ONLINE, 3),
        (
            [{"id": "1", "backend": "ibm_kingston"}, {"id": "2", "backend": "another"}],
            QpuState.ONLINE,
            2,
        ),
        # One that does not tell its backend may have a lane of this one.
        ([{"id": "1"}, {"backend": "ibm_kingston", "status": "Completed"}, {}], QpuState.BUSY, 0),
        ([{}] * 9, QpuState.BUSY, 0),
        (None, QpuState.ONLINE, None),
    ):
        lanes = reply(200, {"hpc_workload_manager": {"lanes": 3}})
        status = system_of(lanes=lanes, jobs=reply(200, {"jobs": jobs})).full_status()
        assert (status.state, status.free_slots, status.total_slots) == (state, free, 3), jobs
        assert ("its jobs are not told" in status.reason) == (jobs is None), jobs
