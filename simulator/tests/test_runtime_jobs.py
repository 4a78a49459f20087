# SPDX-License-Identifier: GPL-3.0-or-later
"""Qiskit Runtime jobs of the simulated site, alone and in sessions that drain, close and expire."""

import json
import time
from collections.abc import Iterator

import httpx
import pytest
from qiskit_ibm_runtime import RuntimeDecoder

from spank_qrmi_simulator.site import Site
from tests.simulator_client import (
    FLIP,
    LONG_INPUT,
    WAIT_SECONDS,
    headers_of,
    sampler_input,
    wait_for_end,
)

API = "/runtime/api/v1"
JOBS = f"{API}/jobs"
SESSIONS = f"{API}/sessions"
WORKING = "ibm_sherbrooke"
WAITING = "ibm_maintenance"
"""Jobs for this backend stay queued."""


@pytest.fixture
def client(site: Site, base_url: str) -> Iterator[httpx.Client]:
    site.reset()
    with httpx.Client(base_url=base_url, trust_env=False, timeout=10) as client:
        client.headers.update(headers_of(site, 0))
        yield client


def order(backend: str, session_id: str | None = None, **changes: object) -> dict[str, object]:
    params = sampler_input(FLIP, support_qiskit=True)
    document = {"program_id": "sampler", "backend": backend, "params": params, **changes}
    return document if session_id is None else {**document, "session_id": session_id}


def submit(client: httpx.Client, document: dict[str, object]) -> str:
    answer = client.post(JOBS, json=document)
    assert answer.status_code == 200
    return str(answer.json()["id"])


def open_session(client: httpx.Client, backend: str, max_ttl: int = 28800) -> str:
    document = {"mode": "batch", "backend": backend, "max_ttl": max_ttl}
    return str(client.post(SESSIONS, json=document).json()["id"])


def state_of(client: httpx.Client, session_id: str) -> str:
    return str(client.get(f"{SESSIONS}/{session_id}").json()["state"])


def status_of(client: httpx.Client, job_id: str) -> str:
    return str(client.get(f"{JOBS}/{job_id}").json()["status"])


def wait_for_status(client: httpx.Client, job_id: str, status: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while status_of(client, job_id) != status:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_job_runs_in_its_session(client: httpx.Client) -> None:
    session_id = open_session(client, WORKING)
    answer = client.post(JOBS, json=order(WORKING, session_id, cost=600, tags=["a"]))
    job_id = answer.json()["id"]
    assert answer.json() == {"id": job_id, "backend": WORKING, "session_id": session_id}
    job = wait_for_end(client, f"{JOBS}/{job_id}")
    assert (job["status"], job["state"]) == ("Completed", {"status": "Completed"})
    assert (job["program"], job["cost"], job["tags"]) == ({"id": "sampler"}, 600, ["a"])
    assert job["params"]
    assert "params" not in client.get(f"{JOBS}/{job_id}?exclude_params=true").json()
    results = client.get(f"{JOBS}/{job_id}/results")
    # Generated clients of the API refuse anything but text here.
    assert results.headers["content-type"].startswith("text/plain")
    decoded = json.loads(results.text, cls=RuntimeDecoder)
    assert decoded[0].data.meas.get_counts() == {"1": 100}
    assert "sampler" in client.get(f"{JOBS}/{job_id}/logs").text
    assert state_of(client, session_id) == "active"
    client.patch(f"{SESSIONS}/{session_id}", json={"accepting_jobs": False})
    assert state_of(client, session_id) == "closed"


def test_failed_job_tells_its_reason(client: httpx.Client) -> None:
    params = sampler_input("rubbish")
    job_id = submit(client, order(WORKING, params=params))
    job = wait_for_end(client, f"{JOBS}/{job_id}")
    state = job["state"]
    assert isinstance(state, dict)
    assert (job["status"], state["status"], state["reason_code"]) == ("Failed", "Failed", 5203)
    assert "cannot be read" in state["reason"]
    assert client.get(f"{JOBS}/{job_id}/results").status_code == 204
    assert client.post(f"{JOBS}/{job_id}/cancel").status_code == 409


def test_draining_session_closes_after_its_last_job(client: httpx.Client) -> None:
    session_id = open_session(client, WAITING)
    job_id = submit(client, order(WAITING, session_id))
    client.patch(f"{SESSIONS}/{session_id}", json={"accepting_jobs": False})
    assert state_of(client, session_id) == "open"
    refused = client.post(JOBS, json=order(WAITING, session_id))
    assert refused.status_code == 400
    assert "accepts no jobs" in refused.json()["errors"][0]["message"]
    client.post(f"/_simulator/backends/{WAITING}", json={"status": "active"})
    assert wait_for_end(client, f"{JOBS}/{job_id}")["status"] == "Completed"
    assert state_of(client, session_id) == "closed"


def test_cancelling_the_last_job_closes_a_draining_session(client: httpx.Client) -> None:
    session_id = open_session(client, WAITING)
    job_id = submit(client, order(WAITING, session_id))
    client.patch(f"{SESSIONS}/{session_id}", json={"accepting_jobs": False})
    assert client.post(f"{JOBS}/{job_id}/cancel").status_code == 204
    assert (status_of(client, job_id), state_of(client, session_id)) == ("Cancelled", "closed")


def test_closing_a_session_cancels_what_waits(client: httpx.Client) -> None:
    session_id = open_session(client, WAITING)
    job_id = submit(client, order(WAITING, session_id))
    assert client.get(f"{API}/backends/{WAITING}/status").json()["length_queue"] == 1
    client.delete(f"{SESSIONS}/{session_id}/close")
    assert (status_of(client, job_id), state_of(client, session_id)) == ("Cancelled", "closed")
    assert client.post(JOBS, json=order(WAITING, session_id)).status_code == 400
    client.post(f"/_simulator/backends/{WAITING}", json={"status": "active"})
    assert status_of(client, job_id) == "Cancelled"


def test_running_job_outlives_its_session_and_can_be_cancelled(client: httpx.Client) -> None:
    session_id = open_session(client, WORKING)
    job_id = submit(client, order(WORKING, session_id, params=LONG_INPUT))
    wait_for_status(client, job_id, "Running")
    client.delete(f"{SESSIONS}/{session_id}/close")
    assert (status_of(client, job_id), state_of(client, session_id)) == ("Running", "closed")
    assert client.post(f"{JOBS}/{job_id}/cancel").status_code == 204
    assert status_of(client, job_id) == "Cancelled"


def test_job_that_runs_too_long_is_cancelled(client: httpx.Client) -> None:
    job_id = submit(client, order(WORKING, params=LONG_INPUT, cost=1))
    job = wait_for_end(client, f"{JOBS}/{job_id}")
    state = job["state"]
    assert isinstance(state, dict)
    assert (job["status"], state["status"]) == ("Cancelled - Ran too long", "Cancelled")


def test_jobs_are_listed_newest_first_and_filtered(client: httpx.Client, site: Site) -> None:
    session_id = open_session(client, WAITING)
    first = submit(client, order(WAITING, session_id, tags=["a", "b"]))
    between = site.now()
    second = submit(client, order(WAITING, program_id="estimator", tags=["a"]))
    client.post(f"{JOBS}/{first}/cancel")

    def ids(query: str) -> list[str]:
        return [job["id"] for job in client.get(f"{JOBS}?{query}").json()["jobs"]]

    assert ids("") == [second, first]
    assert ids("sort=ASC") == [first, second]
    assert ids("pending=true") == ids("program=estimator") == ids("pending=true&tags=a") == [second]
    assert ids("pending=false") == ids(f"session_id={session_id}") == [first]
    assert ids("tags=a&tags=b") == [first]
    assert ids(f"backend={WORKING}") == []
    moment = httpx.QueryParams({"created_after": time.strftime("%FT%TZ", time.gmtime(between + 9))})
    assert ids(str(moment)) == []
    assert ids(str(moment).replace("after", "before")) == [second, first]
    listed = client.get(f"{JOBS}?exclude_params=true&limit=1").json()
    assert (listed["count"], listed["limit"], listed["offset"]) == (2, 1, 0)
    assert "params" not in listed["jobs"][0]


@pytest.mark.parametrize("query", ["sort=UP", "exclude_params=yes", "created_after=yesterday"])
def test_list_queries_are_checked(client: httpx.Client, query: str) -> None:
    assert client.get(f"{JOBS}?{query}").status_code == 400


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"program_id": "circuit-runner"}, 400),
        ({"params": None}, 400),
        ({"cost": "600"}, 400),
        ({"cost": -1}, 400),
        ({"log_level": "loud"}, 400),
        ({"tags": [5]}, 400),
        ({"colour": "red"}, 400),
        ({"backend": 5}, 400),
        ({"backend": "ibm_nowhere"}, 404),
        ({"session_id": "nowhere"}, 404),
    ],
)
def test_orders_are_checked(client: httpx.Client, changes: dict[str, object], status: int) -> None:
    refused = client.post(JOBS, json=order(WAITING) | changes)
    assert (refused.status_code, refused.json().keys()) == (status, {"trace", "errors"})
    assert client.get(JOBS).json()["count"] == 0


def test_noiselearner_is_refused_by_name(client: httpx.Client) -> None:
    refused = client.post(JOBS, json=order(WAITING, program_id="noiselearner"))
    message = "The simulated site does not run noiselearner."
    assert (refused.status_code, refused.json()["errors"][0]["message"]) == (400, message)


def test_session_takes_jobs_of_its_own_backend_only(client: httpx.Client) -> None:
    session_id = open_session(client, WORKING)
    assert client.post(JOBS, json=order(WAITING, session_id)).status_code == 400


def test_session_takes_no_job_that_may_outlast_it(client: httpx.Client) -> None:
    """So public reports say of the service: each primitive of a job was refused."""
    session_id = open_session(client, WORKING, max_ttl=60)
    refused = client.post(JOBS, json=order(WORKING, session_id, cost=61))
    message = "cost must not exceed the session's max_ttl of 60"
    assert (refused.status_code, refused.json()["errors"][0]["message"]) == (400, message)
    assert client.post(JOBS, json=order(WORKING, session_id, cost=60)).is_success


def test_jobs_of_others_are_not_found(client: httpx.Client, site: Site) -> None:
    job_id = submit(client, order(WAITING))
    client.headers.update(headers_of(site, 1))
    assert client.get(JOBS).json()["count"] == 0
    paths = (f"{JOBS}/{job_id}", f"{JOBS}/{job_id}/results", f"{JOBS}/{job_id}/logs")
    assert {client.get(path).status_code for path in paths} == {404}


def test_job_is_deleted_once_it_has_ended(client: httpx.Client) -> None:
    session_id = open_session(client, WAITING)
    job_id = submit(client, order(WAITING, session_id))
    assert client.delete(f"{JOBS}/{job_id}").status_code == 409
    client.post(f"{JOBS}/{job_id}/cancel")
    assert client.delete(f"{JOBS}/{job_id}").status_code == 204
    assert client.get(f"{JOBS}/{job_id}").status_code == 404
    assert client.delete(f"{JOBS}/{job_id}").status_code == 404
    assert client.get("/_simulator/state").json()["sessions"][0]["jobs"] == []
    alone = submit(client, order(WAITING))
    client.post(f"{JOBS}/{alone}/cancel")
    assert client.delete(f"{JOBS}/{alone}").status_code == 204
    assert client.get(JOBS).json()["count"] == 0


def test_held_job_makes_its_session_active(client: httpx.Client) -> None:
    session_id = open_session(client, WORKING)
    client.post(f"/_simulator/backends/{WORKING}", json={"holds_jobs": True})
    job_id = submit(client, order(WORKING, session_id))
    wait_for_status(client, job_id, "Running")
    assert state_of(client, session_id) == "active"
    client.post(f"/_simulator/backends/{WORKING}", json={"holds_jobs": False})
    assert wait_for_end(client, f"{JOBS}/{job_id}")["status"] == "Completed"


def test_private_job_keeps_its_params(client: httpx.Client) -> None:
    job_id = submit(client, order(WAITING, private=True))
    assert "params" not in client.get(f"{JOBS}/{job_id}").json()


def test_backends_are_listed_and_described(client: httpx.Client) -> None:
    client.post("/_simulator/backends/ibm_brisbane", json={"status": "broken"})
    devices = client.get(f"{API}/backends").json()["devices"]
    assert {one["name"]: one["status"]["name"] for one in devices} == {
        WORKING: "online",
        "ibm_brisbane": "offline",
        WAITING: "paused",
        "ibm_marrakesh": "online",
    }
    assert all(one["queue_length"] == 0 for one in devices)
    for kind in ("configuration", "properties"):
        document = client.get(f"{API}/backends/{WAITING}/{kind}").json()
        assert document["backend_name"] == WAITING


def test_state_lists_jobs_of_all_kinds(client: httpx.Client) -> None:
    session_id = open_session(client, WAITING)
    job_id = submit(client, order(WAITING, session_id))
    assert client.get("/_simulator/state").json()["jobs"] == [
        {
            "id": job_id,
            "kind": "qiskit-runtime",
            "backend": WAITING,
            "program": "sampler",
            "status": "Queued",
            "session_id": session_id,
            "reason": None,
        }
    ]
