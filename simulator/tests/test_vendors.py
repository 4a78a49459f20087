# SPDX-License-Identifier: GPL-3.0-or-later
"""What each simulated vendor accepts and refuses, asked over HTTP."""

from collections.abc import Iterator

import httpx
import pytest

from spank_qrmi_simulator import site as names
from spank_qrmi_simulator.iam import GRANT_TYPE
from spank_qrmi_simulator.site import Site
from spank_qrmi_simulator.vendors import VENDORS

SESSIONS = "/runtime/api/v1/sessions"
JOBS = "/runtime/api/v1/jobs"
DEVICES = "/pasqal/core-fast/api/v1/devices"
ORDER = {"mode": "dedicated", "max_ttl": 600, "backend": "ibm_brisbane"}


@pytest.fixture
def client(site: Site, base_url: str) -> Iterator[httpx.Client]:
    site.reset()
    with httpx.Client(base_url=base_url, trust_env=False, timeout=10) as client:
        yield client


def headers_of(site: Site, account_number: int) -> dict[str, str]:
    account = site.accounts[account_number]
    token, _ = site.issue_token(account)
    return {"Authorization": f"Bearer {token}", "Service-CRN": account.service_crn}


@pytest.fixture
def member(site: Site, client: httpx.Client) -> httpx.Client:
    client.headers.update(headers_of(site, 0))
    return client


def ask_for_token(client: httpx.Client, **form: str) -> httpx.Response:
    return client.post("/iam/identity/token", data=form)


def open_session(client: httpx.Client, **changes: object) -> httpx.Response:
    return client.post(SESSIONS, json={**ORDER, **changes})


def test_iam_issues_a_fresh_token_each_time(client: httpx.Client, site: Site) -> None:
    answers = [
        ask_for_token(client, grant_type=GRANT_TYPE, apikey=names.API_KEY).json() for _ in range(2)
    ]
    assert answers[0]["access_token"] != answers[1]["access_token"]
    assert (answers[0]["token_type"], answers[0]["expires_in"]) == ("Bearer", 3600)
    assert answers[0]["expiration"] == pytest.approx(site.now() + 3600, abs=60)
    token = site.token(answers[0]["access_token"])
    assert token is not None
    assert token.account is site.accounts[0]


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"grant_type": GRANT_TYPE, "apikey": "stranger"}, "BXNIM0415E"),
        ({"grant_type": GRANT_TYPE, "apikey": ""}, "BXNIM0109E"),
        ({"grant_type": GRANT_TYPE}, "BXNIM0109E"),
        ({"grant_type": "apikey", "apikey": names.API_KEY}, "BXNIM0109E"),
        ({"apikey": names.API_KEY}, "BXNIM0109E"),
    ],
)
def test_iam_refuses_a_wrong_form(client: httpx.Client, form: dict[str, str], code: str) -> None:
    answer = ask_for_token(client, **form)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)


@pytest.mark.parametrize("body", [b"", b"rubbish", b"apikey=\xff", b"apikey=1&apikey=2"])
def test_iam_refuses_a_body_that_is_no_form(client: httpx.Client, body: bytes) -> None:
    content_type = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post("/iam/identity/token", content=body, headers=content_type)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "BXNIM0109E")


def test_iam_refuses_json_and_get(client: httpx.Client) -> None:
    answers = [client.post("/iam/identity/token", json={}), client.get("/iam/identity/token")]
    assert [answer.status_code for answer in answers] == [415, 405]
    assert {answer.json()["errorCode"] for answer in answers} == {"BXNIM0060E"}


def test_direct_access_shows_and_lists_backends(member: httpx.Client) -> None:
    shown = member.get("/direct-access/v1/backends/ibm_paused").json()
    assert (shown["name"], shown["status"]) == ("ibm_paused", "paused")
    listed = member.get("/direct-access/v1/backends").json()["backends"]
    assert {one["name"]: one["status"] for one in listed} == {
        "ibm_torino": "online",
        "ibm_quebec": "online",
        "ibm_paused": "paused",
        "ibm_offline": "offline",
        "ibm_kingston": "online",
        "test_heron": "online",
        "test_eagle": "online",
    }


def test_direct_access_refuses_an_unknown_backend(member: httpx.Client) -> None:
    answer = member.get("/direct-access/v1/backends/ibm_brisbane")
    document = answer.json()
    assert (answer.status_code, document["status_code"]) == (404, 404)
    assert document["errors"][0]["code"] == "1216"
    assert document["errors"][0].keys() >= {"message", "more_info"}
    assert document["trace"]


@pytest.mark.parametrize(
    "path",
    ["/direct-access/v1/backends/ibm_torino", "/runtime/api/v1/backends/ibm_brisbane/status"],
)
def test_ibm_refuses_a_request_without_a_valid_token(client: httpx.Client, path: str) -> None:
    expected_code = "1201" if path.startswith("/direct") else 1200
    for authorization in (None, "Bearer stranger", "Basic abc"):
        headers = {"Service-CRN": names.SERVICE_CRN}
        if authorization is not None:
            headers["Authorization"] = authorization
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401, authorization
        assert answer.json()["errors"][0]["code"] == expected_code, authorization


@pytest.mark.parametrize("crn", ["", "crn:v1:stranger", names.OPEN_PLAN_SERVICE_CRN])
def test_ibm_refuses_another_service_crn(member: httpx.Client, crn: str) -> None:
    member.headers["Service-CRN"] = crn
    direct = member.get("/direct-access/v1/backends/ibm_torino")
    assert (direct.status_code, direct.json()["errors"][0]["code"]) == (401, "1200")
    runtime = member.get("/runtime/api/v1/backends/ibm_brisbane/status")
    assert (runtime.status_code, runtime.json()["errors"][0]["code"]) == (403, 1200)


def test_direct_access_refuses_the_open_plan(client: httpx.Client, site: Site) -> None:
    answer = client.get("/direct-access/v1/backends", headers=headers_of(site, 1))
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("name", "status", "state"),
    [("ibm_sherbrooke", "active", True), ("ibm_maintenance", "maintenance", False)],
)
def test_runtime_shows_a_backend_status(
    member: httpx.Client, name: str, status: str, *, state: bool
) -> None:
    document = member.get(f"/runtime/api/v1/backends/{name}/status").json()
    assert (document["status"], document["state"]) == (status, state)
    assert document["length_queue"] == 0


def test_runtime_lists_backends_with_the_reason_of_their_status(member: httpx.Client) -> None:
    change = {"message": "calibration until noon"}
    member.post("/_simulator/backends/ibm_maintenance", json=change)
    headers = {"IBM-API-Version": "2025-01-01"}
    listed = member.get("/runtime/api/v1/backends", headers=headers).json()["devices"]
    states = {each["name"]: each["status"] for each in listed}
    assert states["ibm_marrakesh"] == {"name": "online", "reason": "active"}
    assert states["ibm_maintenance"] == {"name": "paused", "reason": "calibration until noon"}
    assert all(each["queue_length"] == 0 for each in listed)
    # What the newest clients ask for beside it.
    query = "limit=200&offset=0&pending=true&backend=ibm_marrakesh&sort=DESC&exclude_params=true"
    assert member.get(f"{JOBS}?{query}", headers=headers).json()["jobs"] == []


def test_runtime_does_not_know_other_backends(member: httpx.Client) -> None:
    answer = member.get("/runtime/api/v1/backends/ibm_torino/status")
    assert answer.status_code == 404
    assert answer.json().keys() == {"trace", "errors"}


def test_session_is_created_and_shown(member: httpx.Client) -> None:
    created = open_session(member, backend_name="ibm_brisbane")
    assert created.status_code == 201
    document = created.json()
    assert (document["state"], document["accepting_jobs"]) == ("open", True)
    assert (document["mode"], document["max_ttl"], document["active_ttl"]) == (
        "dedicated",
        600,
        600,
    )
    assert document["backend_name"] == "ibm_brisbane"
    assert member.get(f"{SESSIONS}/{document['id']}").json() == document


def test_session_lives_eight_hours_unless_told(member: httpx.Client) -> None:
    order = {"mode": "batch", "backend_name": "ibm_sherbrooke"}
    assert member.post(SESSIONS, json=order).json()["max_ttl"] == 28800


NONSENSE_ORDERS: list[tuple[dict[str, object], int]] = [
    ({"mode": "Dedicated"}, 400),
    ({"mode": ["batch"]}, 400),
    ({"max_ttl": 0}, 400),
    ({"max_ttl": 28801}, 400),
    ({"max_ttl": 1.5}, 400),
    ({"max_ttl": True}, 400),
    ({"max_ttl": None}, 400),
    ({"backend": ["ibm_brisbane"]}, 400),
    ({"backend_name": "ibm_sherbrooke"}, 400),
    ({"backend": "ibm_torino"}, 404),
    ({"ttl": 5}, 400),
]


def test_session_orders_are_checked(member: httpx.Client, site: Site) -> None:
    for changes, status in NONSENSE_ORDERS:
        answer = open_session(member, **changes)
        assert (answer.status_code, site.sessions()) == (status, []), changes
        assert answer.json()["errors"][0]["message"], changes


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "text/plain", 415),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"mode": "batch"}', "application/json; charset=utf-8", 400),
    ],
)
def test_session_order_must_be_a_json_object(
    member: httpx.Client, body: bytes, content_type: str, status: int
) -> None:
    answer = member.post(SESSIONS, content=body, headers={"Content-Type": content_type})
    assert answer.status_code == status


def test_open_plan_may_only_use_batch(client: httpx.Client, site: Site) -> None:
    client.headers.update(headers_of(site, 1))
    refused = open_session(client)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, 1352)
    assert open_session(client, mode="batch").status_code == 201


def test_idle_session_closes_when_it_accepts_no_more_jobs(member: httpx.Client) -> None:
    path = f"{SESSIONS}/{open_session(member).json()['id']}"
    assert member.patch(path, json={"accepting_jobs": True}).status_code == 204
    assert member.get(path).json()["state"] == "open"
    assert member.patch(path, json={"accepting_jobs": False}).status_code == 204
    document = member.get(path).json()
    assert (document["state"], document["accepting_jobs"]) == ("closed", False)
    assert document["closed_at"].endswith("Z")
    assert member.patch(path, json={"accepting_jobs": False}).status_code == 204
    assert member.patch(path, json={"accepting_jobs": True}).status_code == 409


@pytest.mark.parametrize(
    "change", [{}, {"accepting_jobs": 0}, {"accepting_jobs": False, "state": "closed"}]
)
def test_only_accepting_jobs_can_be_changed(
    member: httpx.Client, change: dict[str, object]
) -> None:
    path = f"{SESSIONS}/{open_session(member).json()['id']}"
    assert member.patch(path, json=change).status_code == 400
    assert member.get(path).json()["state"] == "open"


def test_session_is_closed_by_delete_without_body(member: httpx.Client, site: Site) -> None:
    path = f"{SESSIONS}/{open_session(member).json()['id']}/close"
    assert member.request("DELETE", path, json={}).status_code == 400
    assert member.delete(path).status_code == 204
    assert site.sessions()[0].closed_how == "cancelled"


def test_unknown_and_foreign_sessions_are_not_found(member: httpx.Client, site: Site) -> None:
    foreign = site.open_session(site.accounts[1], "ibm_brisbane", "batch", 60).session_id
    for path in (f"{SESSIONS}/nowhere", f"{SESSIONS}/{foreign}"):
        change = member.patch(path, json={"accepting_jobs": False})
        answers = [member.get(path), change, member.delete(f"{path}/close")]
        assert [answer.status_code for answer in answers] == [404, 404, 404]


def test_jobs_of_a_session_are_listed(member: httpx.Client, site: Site) -> None:
    session = site.open_session(site.accounts[0], "ibm_brisbane", "batch", 600)
    other = site.open_session(site.accounts[0], "ibm_brisbane", "batch", 600)
    foreign = site.open_session(site.accounts[1], "ibm_brisbane", "batch", 600)
    ended = site.add_job(session, "Running")
    session.complete_jobs(site.now())
    pending = site.add_job(session, "Queued")
    site.add_job(other, "Queued")
    site.add_job(foreign, "Queued")

    def ids(**query: str) -> list[str]:
        jobs = member.get(JOBS, params=query).json()["jobs"]
        return [job["id"] for job in jobs]

    assert ids(pending="true", session_id=session.session_id) == [pending.job_id]
    assert ids(pending="false", session_id=session.session_id) == [ended.job_id]
    assert ids(session_id=session.session_id, limit="1", offset="1") == [ended.job_id]
    assert ids(session_id=session.session_id, sort="ASC") == [ended.job_id, pending.job_id]
    assert len(ids()) == 3
    assert ids(session_id="nowhere") == []
    page = member.get(JOBS, params={"limit": "1"}).json()
    assert (page["count"], page["limit"], page["offset"]) == (3, 1, 0)
    job = page["jobs"][0]
    assert job.keys() >= {"id", "state", "status", "program", "created", "cost"}


def test_job_queries_are_checked(member: httpx.Client) -> None:
    queries = ("pending=yes", "limit=0", "limit=201", "offset=-1", "colour=red")
    for query in (*queries, "limit=" + "1" * 5000):
        assert member.get(f"{JOBS}?{query}").status_code == 400, query


REFUSALS: list[tuple[str, str, int, set[str]]] = [
    ("GET", "/iam/nowhere", 404, {"errorCode", "errorMessage", "errorDetails"}),
    ("GET", "/direct-access//v1/backends", 404, {"status_code", "title", "trace", "errors"}),
    ("GET", "/direct-access/v1/backends/", 404, {"status_code", "title", "trace", "errors"}),
    ("POST", "/direct-access/v1/backends", 405, {"status_code", "title", "trace", "errors"}),
    ("PUT", f"{SESSIONS}/x", 405, {"trace", "errors"}),
    ("POST", DEVICES, 405, {"status", "code", "message"}),
    ("GET", "/iqm/nowhere", 404, {"error_code", "message", "request_id", "details"}),
    ("GET", "/felis/nowhere", 404, {"error"}),
    ("GET", "/oqtopus/devices/", 404, {"message"}),
    ("GET", "/pasqal/oauth/nowhere", 404, {"error", "error_description"}),
    ("GET", "/warden/1/nowhere", 404, {"detail"}),
    ("GET", "/_simulator/nowhere", 404, {"error"}),
    ("GET", "/", 404, {"error"}),
]


@pytest.mark.parametrize(("method", "path", "status", "keys"), REFUSALS)
def test_unknown_paths_and_methods_are_refused_in_json(
    client: httpx.Client, method: str, path: str, status: int, keys: set[str]
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json().keys()) == (status, keys)


def test_each_vendor_is_among_these() -> None:
    paths = [path for _, path, *_ in REFUSALS]
    asked = {vendor for vendor in VENDORS for path in paths if path.startswith(f"{vendor.prefix}/")}
    assert {*VENDORS} - asked == set(), "REFUSALS has a path of each"
