# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated Alice & Bob Felis over HTTP: targets, their health, and jobs."""

from collections.abc import Iterator

import httpx
import pytest

from spank_qrmi_simulator import retention
from spank_qrmi_simulator.alice_bob_felis import API_KEY
from spank_qrmi_simulator.site import Site

TARGETS = "/felis/v1/targets/"
TARGET = f"{TARGETS}EMU%3A40Q%3APHYSICAL_CATS"
OFF = f"{TARGETS}QPU%3A1Q%3AOFF"
JOBS = "/felis/v1/jobs/"
ORDER = {
    "inputDataFormat": "HUMAN_QIR",
    "outputDataFormat": "HISTOGRAM",
    "target": "EMU:40Q:PHYSICAL_CATS",
    "inputParams": {"nbShots": 7},
}


@pytest.fixture
def client(site: Site, base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, trust_env=False, timeout=10) as client:
        client.post("/_simulator/reset")
        client.headers["Authorization"] = f"Basic {API_KEY}"
        yield client


def create(client: httpx.Client, **changes: object) -> httpx.Response:
    return client.post(JOBS, json={**ORDER, **changes})


def events_of(answer: httpx.Response) -> list[str]:
    return [each["type"] for each in answer.json()["events"]]


def test_targets_tell_their_health_and_why(client: httpx.Client) -> None:
    names = [each["name"] for each in client.get(TARGETS).json()]
    assert names == ["EMU:40Q:PHYSICAL_CATS", "QPU:1Q:OFF"]
    assert [client.get(f"{each}/health").json() for each in (TARGET, OFF)] == ["OK", "OFF"]
    entries = [
        client.get(f"{each}/availabilities?limit=1&offset=0").json()[0] for each in (TARGET, OFF)
    ]
    told = [(each["enabled"], each["message"]) for each in entries]
    assert told == [(True, "open"), (False, "simulated maintenance")]
    assert client.get("/felis/v1/health/").json() == "OK"


def test_health_can_be_changed(client: httpx.Client) -> None:
    client.post("/_simulator/backends/ab_emu_40q_physical_cats", json={"status": "NOK"})
    assert client.get(f"{TARGET}/health").json() == "NOK"
    assert create(client).status_code == 409
    state = client.get("/_simulator/state").json()["alice_bob_targets"]
    assert state["ab_emu_40q_physical_cats"]["status"] == "NOK"


def test_job_ends_once_it_has_its_input(client: httpx.Client) -> None:
    created = create(client)
    job = f"{JOBS}{created.json()['id']}"
    assert events_of(created) == ["CREATED"]
    assert client.get(f"{job}/output").status_code == 409
    assert client.post(f"{job}/input", content=b"x").status_code == 415
    assert client.post(f"{job}/input", files={"other": b"x"}).status_code == 422
    assert client.post(f"{job}/input", files={"input": b"program"}).status_code == 200
    assert client.post(f"{job}/input", files={"input": b"program"}).status_code == 409
    assert events_of(client.get(job))[-1] == "SUCCEEDED"
    assert client.get(f"{job}/output").text == "0,7\n"
    assert events_of(client.delete(job))[-1] == "SUCCEEDED"


def test_job_without_input_can_be_cancelled(client: httpx.Client) -> None:
    job = f"{JOBS}{create(client).json()['id']}"
    assert events_of(client.delete(job)) == ["CREATED", "CANCELLED"]
    assert client.post(f"{job}/input", files={"input": b"program"}).status_code == 409


def test_oldest_jobs_are_forgotten(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "REMEMBERED", 1)
    paths = [f"{JOBS}{create(client).json()['id']}" for _ in range(2)]
    assert [client.get(path).status_code for path in paths] == [404, 200]


NONSENSE: list[tuple[dict[str, object], int]] = [
    ({"target": "NOWHERE"}, 422),
    ({"target": ["a"]}, 422),
    ({"inputParams": 5}, 422),
    ({"inputParams": {"nbShots": 0}}, 422),
    ({"colour": "red"}, 400),
]


def test_nonsense_is_refused(client: httpx.Client) -> None:
    for changes, status in NONSENSE:
        answer = create(client, **changes)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, status), changes
    assert client.get(f"{TARGET}/availabilities?colour=red").status_code == 400


def test_strangers_and_unknown_names_are_refused(client: httpx.Client) -> None:
    assert client.get(f"{TARGETS}EMU/health").status_code == 404
    assert client.get(f"{JOBS}x").status_code == 404
    client.headers["Authorization"] = "Basic stranger"
    for path in (TARGETS, f"{TARGET}/health", f"{JOBS}x"):
        assert client.get(path).status_code == 401, path
