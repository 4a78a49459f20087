# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated Pasqal Cloud over HTTP: devices, specifications, batches, jobs, results, refusals."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pulser import Pulse, Sequence
from pulser.abstract_repr import deserialize_device
from pulser.devices import Device

from loopback.waiting import wait_until
from spank_qrmi_simulator import retention
from spank_qrmi_simulator.pasqal_tokens import AUTH_TOKEN, PROJECT_ID
from spank_qrmi_simulator.server import running_in_thread
from spank_qrmi_simulator.site import Site

V1 = "/pasqal/core-fast/api/v1"
V2 = "/pasqal/core-fast/api/v2"
WAIT_SECONDS = 30


@pytest.fixture
def stranger(site: Site, base_url: str) -> Iterator[httpx.Client]:
    site.reset()
    with httpx.Client(base_url=base_url, trust_env=False, timeout=WAIT_SECONDS) as client:
        yield client


@pytest.fixture
def client(stranger: httpx.Client) -> httpx.Client:
    stranger.headers["Authorization"] = f"Bearer {AUTH_TOKEN}"
    return stranger


@pytest.fixture
def device(client: httpx.Client) -> Device:
    answer = client.get(f"{V1}/devices/specs/FRESNEL").json()["data"]
    device = deserialize_device(answer["specs"])
    assert isinstance(device, Device)
    assert (answer["device_type"], device.name) == ("FRESNEL", "FRESNEL")
    return device


def sequence_of(device: Device, atom_count: int = 2) -> "Sequence[Device]":
    register = device.pre_calibrated_layouts[0].define_register(*range(atom_count))
    sequence = Sequence(register, device)
    sequence.declare_channel("all", "rydberg_global")
    return sequence


def half_turn(device: Device, atom_count: int = 1) -> str:
    """Return a sequence that excites a single atom."""
    sequence = sequence_of(device, atom_count)
    sequence.add(Pulse.ConstantPulse(500, 6.2832, 0, 0), "all")
    sequence.measure()
    return sequence.to_abstract_repr()


def order(sequence: str, *, device_type: str = "FRESNEL", **changes: object) -> dict[str, object]:
    """Return the body that the public client sends."""
    return {
        "sequence_builder": sequence,
        "jobs": [{"runs": 100}],
        "device_type": device_type,
        "project_id": PROJECT_ID,
        **changes,
    }


def end_of(client: httpx.Client, answer: httpx.Response) -> dict[str, object]:
    """Return the only job of the batch that was just created, once it has ended."""
    assert answer.status_code == 200, answer.text
    batch_path = f"{V2}/batches/{answer.json()['data']['id']}"
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        (job_id,) = client.get(batch_path).json()["data"]["job_ids"]
        job: dict[str, object] = client.get(f"{V2}/jobs/{job_id}").json()["data"]
        if job["status"] not in ("PENDING", "RUNNING"):
            assert client.get(batch_path).json()["data"]["status"] == job["status"]
            return job
        time.sleep(0.02)
    raise AssertionError("the batch does not end")


def results_of(client: httpx.Client, job: dict[str, object]) -> dict[str, object]:
    answer = client.get(f"{V1}/batches/{job['batch_id']}/full_results").json()
    data: dict[str, object] = answer["data"]
    return data


def test_devices_are_listed_for_everyone(stranger: httpx.Client) -> None:
    def devices(query: str) -> object:
        return stranger.get(f"{V1}/devices{query}").json()["data"]

    down = {"device_type": "FRESNEL_CAN1", "status": "DOWN", "availability": "INACTIVE"}
    assert devices("?device_type=FRESNEL_CAN1") == [down]
    assert devices("?device_type=fresnel") == []
    everything = stranger.get(f"{V1}/devices").json()
    names = [one["device_type"] for one in everything.pop("data")]
    assert names == ["FRESNEL", "EMU_FREE", "FRESNEL_CAN1"]
    assert everything == {"status": "success", "message": "OK.", "code": 200}
    assert stranger.get(f"{V1}/devices?colour=red").status_code == 400


def test_oldest_ended_batches_are_forgotten(
    client: httpx.Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "REMEMBERED", 1)
    ids = []
    for _ in range(4):
        created = client.post(f"{V1}/batches", json=order("{}"))
        ids.append(created.json()["data"]["id"])
        client.patch(f"{V2}/batches/{ids[-1]}/cancel")
        end_of(client, created)
    # The last two: one that had ended when the last one came, and that one.
    assert [batch.batch_id for batch in site.pasqal_batches.batches()] == ids[2:]
    assert client.get(f"{V2}/batches/{ids[0]}").status_code == 404


def test_public_specs_are_those_of_the_devices(stranger: httpx.Client) -> None:
    specs = stranger.get(f"{V1}/devices/public-specs").json()["data"]
    assert [one["device_type"] for one in specs] == ["FRESNEL", "FRESNEL_CAN1"]
    assert [deserialize_device(one["specs"]).name for one in specs] == ["FRESNEL", "FRESNEL_CAN1"]


@pytest.mark.parametrize("device_type", ["FRESNEL", "EMU_FREE"])
def test_sequence_runs(client: httpx.Client, device: Device, device_type: str) -> None:
    body = order(half_turn(device), device_type=device_type)
    job = end_of(client, client.post(f"{V1}/batches", json=body))
    assert (job["status"], job["errors"], job["runs"]) == ("DONE", [], 100)
    assert results_of(client, job) == {job["id"]: {"counter": {"1": 100}}}


def test_variables_are_built_into_the_sequence(client: httpx.Client, device: Device) -> None:
    sequence = sequence_of(device, 1)
    amplitude = sequence.declare_variable("amplitude", dtype=float)
    sequence.add(Pulse.ConstantPulse(500, amplitude, 0, 0), "all")
    sequence.measure()
    body = order(sequence.to_abstract_repr())
    body["jobs"] = [{"runs": 10, "variables": {"amplitude": [6.2832]}}]
    job = end_of(client, client.post(f"{V1}/batches", json=body))
    assert results_of(client, job) == {job["id"]: {"counter": {"1": 10}}}


@pytest.mark.parametrize(
    ("atom_count", "job", "complaint"),
    [
        (13, {"runs": 1}, "13 atoms of 2 levels are more"),
        (1, {"runs": 2001}, "maximum allowed"),
        (1, {"runs": 1, "variables": {"x": [1]}}, "no variables"),
    ],
)
def test_program_that_cannot_run_ends_in_an_error(
    client: httpx.Client, device: Device, atom_count: int, job: dict[str, object], complaint: str
) -> None:
    body = order(half_turn(device, atom_count), jobs=[job])
    ended = end_of(client, client.post(f"{V1}/batches", json=body))
    assert ended["status"] == "ERROR"
    assert complaint in str(ended["errors"])
    assert results_of(client, ended) == {}


def test_json_that_is_no_sequence_ends_in_an_error(client: httpx.Client) -> None:
    job = end_of(client, client.post(f"{V1}/batches", json=order("{}")))
    assert (job["status"], results_of(client, job)) == ("ERROR", {})


def test_batch_is_cancelled_at_once(client: httpx.Client, device: Device, site: Site) -> None:
    body = order(half_turn(device, 12), jobs=[{"runs": 1}, {"runs": 1}])
    batch = client.post(f"{V1}/batches", json=body).json()["data"]
    cancelled = client.patch(f"{V2}/batches/{batch['id']}/cancel").json()["data"]
    assert cancelled["status"] == "CANCELED"
    statuses = [client.get(f"{V2}/jobs/{one}").json()["data"]["status"] for one in batch["job_ids"]]
    assert statuses == ["CANCELED", "CANCELED"]
    job = end_of(client, client.post(f"{V1}/batches", json=order(half_turn(device))))
    assert job["status"] == "DONE"
    assert client.patch(f"{V2}/batches/{job['batch_id']}/cancel").json()["data"]["status"] == "DONE"
    shown = client.get("/_simulator/state").json()["pasqal_cloud_batches"]
    assert [one["status"] for one in shown] == ["CANCELED", "DONE"]
    site.reset()
    assert client.get(f"{V2}/batches/{batch['id']}").status_code == 404


def test_running_batch_does_not_hold_up_the_stop(device: Device) -> None:
    site = Site()
    with (
        running_in_thread(site) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=WAIT_SECONDS) as client,
    ):
        headers = {"Authorization": f"Bearer {AUTH_TOKEN}"}
        body = order(half_turn(device, 12), jobs=[{"runs": 1}] * 20)
        client.post(f"{V1}/batches", json=body, headers=headers)
        wait_until(
            lambda: site.pasqal_batches.batches()[0].status() == "RUNNING",
            WAIT_SECONDS,
            "running batch",
        )
    # One that the stop had waited for would be done.
    assert site.pasqal_batches.batches()[0].status() == "CANCELED"


NONSENSE_ORDERS: list[tuple[dict[str, Any], int]] = [
    ({"project_id": "stranger"}, 403),
    ({"project_id": None}, 403),
    ({"device_type": "NOWHERE"}, 422),
    ({"device_type": ["FRESNEL"]}, 422),
    ({"device_type": "FRESNEL_CAN1"}, 400),
    ({"sequence_builder": "rubbish"}, 422),
    ({"sequence_builder": {}}, 422),
    ({"jobs": []}, 422),
    ({"jobs": {"runs": 1}}, 422),
    ({"jobs": [1]}, 422),
    ({"jobs": [{}]}, 422),
    ({"jobs": [{"runs": 0}]}, 422),
    ({"jobs": [{"runs": True}]}, 422),
    ({"jobs": [{"runs": 1, "variables": [1]}]}, 422),
    ({"jobs": [{"runs": 1, "shots": 1}]}, 400),
    ({"colour": "red"}, 400),
]


def test_batch_orders_are_checked(client: httpx.Client, site: Site) -> None:
    for changes, status in NONSENSE_ORDERS:
        answer = client.post(f"{V1}/batches", json=order("{}", **changes))
        assert (answer.status_code, site.pasqal_batches.batches()) == (status, []), changes
        document = answer.json()
        assert document.keys() == {"status", "code", "message"}, changes
        assert (document["status"], document["code"]) == ("fail", str(status)), changes


PROTECTED = [
    ("GET", f"{V1}/devices/specs/FRESNEL"),
    ("POST", f"{V1}/batches"),
    ("GET", f"{V1}/batches/x/full_results"),
    ("GET", f"{V2}/batches/x"),
    ("PATCH", f"{V2}/batches/x/cancel"),
    ("GET", f"{V2}/jobs/x"),
]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_token_is_needed(stranger: httpx.Client, method: str, path: str) -> None:
    for authorization in ("", "Bearer stranger", f"Basic {AUTH_TOKEN}"):
        answer = stranger.request(method, path, headers={"Authorization": authorization})
        refusal = (answer.status_code, answer.json().get("status"))
        assert refusal == (401, "fail"), authorization


@pytest.mark.parametrize(
    ("method", "path"),
    [*PROTECTED[2:], ("GET", f"{V1}/devices/specs/EMU_FREE"), ("GET", f"{V1}/devices/specs/x")],
)
def test_what_does_not_exist_is_not_found(client: httpx.Client, method: str, path: str) -> None:
    assert client.request(method, path).status_code == 404


def test_specs_are_json_text(client: httpx.Client) -> None:
    answer = client.get(f"{V1}/devices/specs/FRESNEL").json()["data"]
    assert json.loads(answer["specs"])["max_runs"] == 2000
