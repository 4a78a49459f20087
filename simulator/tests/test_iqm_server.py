# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated IQM Server over HTTP: quantum computers for clients of every generation, and jobs."""

from collections.abc import Iterator

import httpx
import pytest

from spank_qrmi_simulator import retention
from spank_qrmi_simulator.iqm_server import MOST_BITS, TOKEN
from spank_qrmi_simulator.site import Site

COMPUTER = "/iqm/api/v1/quantum-computers/garnet:mock"
JOBS = "/iqm/api/v1/jobs"
MEASUREMENTS = [
    {"name": "prx", "locus": ["QB1"], "args": {}},
    {"name": "measure", "locus": ["QB1", "QB2"], "args": {"key": "a"}},
    {"name": "measurement", "qubits": ["QB3"], "args": {"key": "b"}},
]
ORDER = {"circuits": [{"name": "c", "instructions": MEASUREMENTS}], "shots": 2}


@pytest.fixture
def client(site: Site, base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, trust_env=False, timeout=10) as client:
        client.post("/_simulator/reset")
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client


def submit(client: httpx.Client, **changes: object) -> httpx.Response:
    return client.post(f"{JOBS}/garnet:mock/circuit", json={**ORDER, **changes})


def test_computer_is_shown_to_every_generation(client: httpx.Client) -> None:
    shown = client.get(COMPUTER).json()
    assert (shown["alias"], shown["operational"]) == ("garnet:mock", "online")
    assert shown["health"]["healthy"] is True
    health = client.get(f"{COMPUTER}/health").json()
    assert (health["healthy"], health["operational"]) == (True, "online")
    assert health["health"].keys() == {"healthy", "updated_at"}


def test_computer_in_maintenance_tells_no_health_and_takes_no_jobs(client: httpx.Client) -> None:
    client.post("/_simulator/backends/garnet_mock", json={"status": "maintenance"})
    shown = client.get(COMPUTER).json()
    assert (shown["operational"], shown["health"]) == ("maintenance", None)
    health = client.get(f"{COMPUTER}/health").json()
    assert (health["healthy"], health["health"]) == (False, None)
    assert submit(client).status_code == 403
    state = client.get("/_simulator/state").json()["iqm_quantum_computers"]
    assert state["garnet_mock"]["status"] == "maintenance"


def test_job_ends_at_once_with_every_qubit_as_0(client: httpx.Client) -> None:
    job = submit(client).json()
    assert (job["status"], job["type"]) == ("completed", "circuit")
    assert job["qc"]["alias"] == "garnet:mock"
    path = f"{JOBS}/{job['id']}"
    query = "wait_until_terminal=true&timeout_seconds=30"
    assert client.get(f"{path}?{query}").json() == job
    assert [each["type"] for each in job["artifacts"]] == ["measurements", "measurement_counts"]
    artifacts = f"{path}/artifacts"
    shots = {"a": [[0, 0]] * 2, "b": [[0]] * 2}
    assert client.get(f"{artifacts}/measurements").json() == [shots]
    counts = [{"counts": {"000": 2}, "measurement_keys": ["a", "b"]}]
    assert client.get(f"{artifacts}/measurement_counts").json() == counts
    assert client.get(f"{artifacts}/run").status_code == 404
    refused = client.post(f"{path}/cancel")
    assert (refused.status_code, refused.json()["error_code"]) == (403, "illegal_job_status")


def test_oldest_jobs_are_forgotten(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "REMEMBERED", 1)
    paths = [f"{JOBS}/{submit(client).json()['id']}" for _ in range(2)]
    assert [client.get(path).status_code for path in paths] == [404, 200]


NONSENSE: list[dict[str, object]] = [
    {"circuits": []},
    {"circuits": [5]},
    {"circuits": [{"instructions": [5]}]},
    {"circuits": [{"instructions": [{"name": "measure", "locus": ["QB1"]}]}]},
    {"circuits": [{"instructions": [{"name": "measure", "args": {"key": "a"}}]}]},
    {"circuits": [{"instructions": [{"name": "measure", "locus": [], "args": {"key": "a"}}]}]},
    *({"shots": shots} for shots in (0, True, "1", None, MOST_BITS)),
]


def test_nonsense_is_refused(client: httpx.Client) -> None:
    for changes in NONSENSE:
        answer = submit(client, **changes)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid_input"), changes
    assert client.get(f"{JOBS}/x?colour=red").status_code == 400


def test_strangers_and_unknown_names_are_refused(client: httpx.Client) -> None:
    unknown = {COMPUTER.replace(":", "_"): "qc_not_found", f"{JOBS}/x": "job_not_found"}
    for path, code in unknown.items():
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error_code"]) == (404, code), path
    client.headers["Authorization"] = "Bearer stranger"
    for path in (COMPUTER, f"{COMPUTER}/health", f"{JOBS}/x"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error_code"]) == (401, "unauthorized"), path
