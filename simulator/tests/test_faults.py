# SPDX-License-Identifier: GPL-3.0-or-later
"""Ordered faults as a client meets them, and the rest of the simulator's control endpoints."""

import hashlib
import time
from collections.abc import Iterator

import httpx
import pytest

from spank_qrmi_simulator import site as names
from spank_qrmi_simulator.iam import GRANT_TYPE
from spank_qrmi_simulator.site import Site

DEVICES = "/pasqal/core-fast/api/v1/devices"
SESSIONS = "/runtime/api/v1/sessions"
ORDER = {"mode": "batch", "backend": "ibm_brisbane"}
BRIEFLY = httpx.Timeout(10, read=0.2)


@pytest.fixture
def client(site: Site, base_url: str) -> Iterator[httpx.Client]:
    account = site.accounts[0]
    token, _ = site.issue_token(account)
    site.reset()
    headers = {"Authorization": f"Bearer {token}", "Service-CRN": account.service_crn}
    with httpx.Client(base_url=base_url, headers=headers, trust_env=False, timeout=10) as client:
        yield client


def order(client: httpx.Client, kind: str, path: str = DEVICES, **details: object) -> None:
    document = {"kind": kind, "path": path, **details}
    assert client.post("/_simulator/faults", json=document).status_code == 201


def test_status_fault_has_the_vendors_shape_and_strikes_once(client: httpx.Client) -> None:
    order(client, "status", "/sessions$", method="POST", status=429, retry_after=3)
    struck = client.post(SESSIONS, json=ORDER)
    assert (struck.status_code, struck.headers["Retry-After"]) == (429, "3")
    assert struck.json()["errors"][0]["code"] == 429
    assert client.post(SESSIONS, json=ORDER).status_code == 201


def test_status_fault_without_body(client: httpx.Client) -> None:
    order(client, "status", status=204)
    answer = client.get(DEVICES)
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("path", ["/iam/identity/token", "/direct-access/v1/backends", "/else"])
def test_status_fault_may_have_any_number(client: httpx.Client, path: str) -> None:
    order(client, "status", path, status=599)
    answer = client.post(path)
    assert answer.status_code == 599
    assert answer.json()


@pytest.mark.parametrize(("when", "opened"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize("kind", ["drop", "hang"])
def test_no_answer_with_or_without_effect(
    client: httpx.Client, site: Site, kind: str, when: str, opened: int
) -> None:
    order(client, kind, SESSIONS, when=when)
    error = httpx.RemoteProtocolError if kind == "drop" else httpx.ReadTimeout
    with pytest.raises(error):
        client.post(SESSIONS, json=ORDER, timeout=BRIEFLY)
    deadline = time.monotonic() + 10
    while len(site.sessions()) != opened:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("when", ["before", "after"])
def test_delay_holds_the_answer_back(client: httpx.Client, when: str) -> None:
    order(client, "delay", SESSIONS, when=when, delay_seconds=0.05)
    assert client.post(SESSIONS, json=ORDER).status_code == 201
    record = client.get("/_simulator/state").json()["requests"][0]
    assert record["ended_at"] - record["at"] >= 0.049


def test_nothing_happens_if_the_client_leaves_during_a_delay(
    client: httpx.Client, site: Site
) -> None:
    order(client, "delay", SESSIONS, delay_seconds=3600)
    with pytest.raises(httpx.ReadTimeout):
        client.post(SESSIONS, json=ORDER, timeout=BRIEFLY)
    assert site.sessions() == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_malformed_answer_is_no_json(client: httpx.Client, when: str) -> None:
    order(client, "malformed", when=when)
    answer = client.get(DEVICES)
    assert answer.headers["Content-Type"] == "application/json"
    with pytest.raises(ValueError, match="delimiter"):
        answer.json()


def test_malformed_answer_to_a_request_that_has_none(client: httpx.Client, site: Site) -> None:
    session = site.open_session(site.accounts[0], "ibm_brisbane", "batch", 60)
    order(client, "malformed", SESSIONS)
    answer = client.delete(f"{SESSIONS}/{session.session_id}/close")
    assert (answer.status_code, answer.content) == (200, b'{"simulator": "filler"')
    assert session.state() == "closed"


def test_truncated_answer_promises_more_than_comes(client: httpx.Client) -> None:
    order(client, "truncated")
    with pytest.raises(httpx.RemoteProtocolError, match="peer closed"):
        client.get(DEVICES)


def test_slow_answer_is_complete_in_the_end(client: httpx.Client) -> None:
    order(client, "slow_drip", delay_seconds=0)
    assert client.get(f"{DEVICES}?device_type=none").json()["data"] == []


def test_slow_answer_ends_when_the_client_leaves(client: httpx.Client, site: Site) -> None:
    order(client, "slow_drip", delay_seconds=3600)
    with pytest.raises(httpx.ReadTimeout):
        client.get(DEVICES, timeout=BRIEFLY)
    assert client.get(DEVICES).status_code == 200


@pytest.mark.parametrize(("when", "statuses"), [("before", [401, 401]), ("after", [200, 401])])
def test_expired_tokens_are_refused(client: httpx.Client, when: str, statuses: list[int]) -> None:
    order(client, "expired_token", "/backends", when=when)
    path = "/direct-access/v1/backends"
    assert [client.get(path).status_code for _ in range(2)] == statuses


@pytest.mark.parametrize(("details", "status"), [({}, 302), ({"status": 307}, 307)])
def test_redirect_points_elsewhere(
    client: httpx.Client, details: dict[str, int], status: int
) -> None:
    order(client, "redirect", DEVICES, location="http://127.0.0.1:1/", **details)
    answer = client.get(DEVICES)
    assert (answer.status_code, answer.headers["Location"]) == (status, "http://127.0.0.1:1/")


def test_oversized_answer_is_valid_and_tells_no_length(client: httpx.Client) -> None:
    order(client, "oversized", size_bytes=200_000)
    answer = client.get(DEVICES)
    assert len(answer.content) >= 200_000
    assert "Content-Length" not in answer.headers
    assert answer.json()["status"] == "success"


def test_client_that_leaves_in_the_middle_of_its_request_changes_nothing(
    client: httpx.Client, site: Site
) -> None:
    order(client, "delay", SESSIONS, delay_seconds=0)

    def half_a_body() -> Iterator[bytes]:
        yield b"{"
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        client.post(SESSIONS, content=half_a_body())
    assert client.get(DEVICES).status_code == 200
    assert site.sessions() == []


def test_ordered_faults_are_shown_and_withdrawn(client: httpx.Client) -> None:
    order(client, "drop", times=None)
    faults = client.get("/_simulator/state").json()["faults"]
    assert [(fault["kind"], fault["path"], fault["times"]) for fault in faults] == [
        ("drop", DEVICES, None)
    ]
    assert client.delete("/_simulator/faults").status_code == 204
    assert client.get(DEVICES).status_code == 200


def test_control_endpoints_are_never_struck(client: httpx.Client) -> None:
    order(client, "drop", "/", times=None)
    assert client.post("/_simulator/reset").status_code == 204
    assert client.get(DEVICES).status_code == 200


def test_nonsense_fault_is_refused(client: httpx.Client) -> None:
    answer = client.post("/_simulator/faults", json={"kind": "rain", "path": "/"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("kind must be one of")


def test_requests_are_recorded_without_secrets(client: httpx.Client, site: Site) -> None:
    order(client, "status", "/iam", status=503)
    form = {"grant_type": GRANT_TYPE, "apikey": names.API_KEY}
    client.post("/iam/identity/token", data=form, headers={"User-Agent": "tester/1"})
    client.get(DEVICES, params={"device_type": "FRESNEL"})
    answer = client.get("/_simulator/state")
    authorization = client.headers["Authorization"]
    assert names.API_KEY not in answer.text
    assert authorization.removeprefix("Bearer ") not in answer.text
    first, second = answer.json()["requests"]
    assert (first["method"], first["path"]) == ("POST", "/iam/identity/token")
    assert (first["status"], first["fault"], first["user_agent"]) == (503, "status", "tester/1")
    assert "service-crn" in first["headers_present"]
    assert (second["query"], second["status"], second["fault"]) == (
        "device_type=FRESNEL",
        200,
        None,
    )
    assert second["authorization_sha256"] == hashlib.sha256(authorization.encode()).hexdigest()
    assert first["at"] <= first["ended_at"] <= second["at"]


def test_request_without_authorization_has_no_digest(base_url: str, client: httpx.Client) -> None:
    httpx.get(f"{base_url}{DEVICES}", trust_env=False)
    record = client.get("/_simulator/state").json()["requests"][0]
    assert record["authorization_sha256"] is None


def test_state_shows_sessions_tokens_and_backends(client: httpx.Client) -> None:
    form = {"grant_type": GRANT_TYPE, "apikey": names.API_KEY}
    client.post("/iam/identity/token", data=form)
    session_id = client.post(SESSIONS, json=ORDER).json()["id"]
    client.delete(f"{SESSIONS}/{session_id}/close")
    state = client.get("/_simulator/state").json()
    assert state["tokens_issued"] == 1
    session = state["sessions"][0]
    assert (session["id"], session["service_crn"]) == (session_id, names.SERVICE_CRN)
    assert (session["state"], session["closed_how"]) == ("closed", "cancelled")
    assert session["closed_at"] >= session["created_at"]
    assert state["quantum_system_backends"]["ibm_torino"]["status"] == "online"
    assert state["qiskit_runtime_backends"]["ibm_brisbane"]["status"] == "active"
    assert state["pasqal_cloud_devices"]["FRESNEL"]["availability"] == "ACTIVE"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("ibm_torino", "/direct-access/v1/backends/ibm_torino"),
        ("ibm_brisbane", "/runtime/api/v1/backends/ibm_brisbane/status"),
    ],
)
def test_backend_status_can_be_changed(client: httpx.Client, name: str, path: str) -> None:
    changed = client.post(f"/_simulator/backends/{name}", json={"status": "strange"})
    assert changed.status_code == 204
    assert client.get(path).json()["status"] == "strange"


def test_device_status_and_availability_can_be_changed(client: httpx.Client) -> None:
    change = {"status": "DOWN", "availability": "INACTIVE"}
    assert client.post("/_simulator/backends/EMU_FREE", json=change).status_code == 204
    device = client.get(f"{DEVICES}?device_type=EMU_FREE").json()["data"][0]
    assert device == {"device_type": "EMU_FREE", **change}


NONSENSE_CHANGES: list[tuple[str, dict[str, object], int]] = [
    ("ibm_nowhere", {"status": "online"}, 404),
    ("ibm_torino", {}, 422),
    ("ibm_torino", {"status": ""}, 422),
    ("ibm_torino", {"status": 5}, 422),
    ("ibm_torino", {"status": "x" * 65}, 422),
    ("ibm_torino", {"availability": "ACTIVE"}, 422),
    ("ibm_torino", {"status": "online", "holds_jobs": "yes"}, 422),
    *(("ibm_torino", {"lanes": lanes}, 422) for lanes in (-1, True, "5", 1.5)),
    ("FRESNEL", {"holds_jobs": True}, 422),
    ("FRESNEL", {"device_type": "OTHER"}, 422),
]


def test_nonsense_changes_are_refused(client: httpx.Client) -> None:
    for name, change, status in NONSENSE_CHANGES:
        answer = client.post(f"/_simulator/backends/{name}", json=change)
        assert answer.status_code == status, f"{name}: {change}"


def test_jobs_can_be_put_into_a_session_and_completed(client: httpx.Client) -> None:
    path = f"{SESSIONS}/{client.post(SESSIONS, json=ORDER).json()['id']}"
    jobs = f"/_simulator{path.removeprefix('/runtime/api/v1')}/jobs"
    assert client.post(jobs).json()["status"] == "Queued"
    assert client.post(jobs, json={"status": "Running"}).status_code == 201
    assert client.get(path).json()["state"] == "active"
    client.patch(path, json={"accepting_jobs": False})
    assert client.get(path).json()["state"] == "active"
    assert client.post(jobs).status_code == 409
    assert client.delete(jobs).status_code == 204
    session = client.get("/_simulator/state").json()["sessions"][0]
    assert session["closed_how"] == "drained"
    assert [job["status"] for job in session["jobs"]] == ["Completed", "Completed"]


def test_nonsense_jobs_are_refused(client: httpx.Client, site: Site) -> None:
    session = site.open_session(site.accounts[0], "ibm_brisbane", "batch", 60)
    jobs = f"/_simulator/sessions/{session.session_id}/jobs"
    for body in ({"status": "Completed"}, {"status": ["Queued"]}, {"name": "x"}):
        assert client.post(jobs, json=body).status_code == 422
    assert client.post("/_simulator/sessions/nowhere/jobs").status_code == 404
