# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated OQTOPUS Cloud over HTTP: its devices."""

from collections.abc import Iterator

import httpx
import pytest

from spank_qrmi_simulator.oqtopus import API_TOKEN
from spank_qrmi_simulator.site import Site

DEVICES = "/oqtopus/devices"


@pytest.fixture
def client(site: Site, base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, trust_env=False, timeout=10) as client:
        client.post("/_simulator/reset")
        client.headers["q-api-token"] = API_TOKEN
        yield client


def test_devices_are_listed_and_shown(client: httpx.Client) -> None:
    listed = {each["device_id"]: each["status"] for each in client.get(DEVICES).json()}
    assert listed == {"anemone": "available", "urchin": "unavailable"}
    assert "available_at" not in client.get(f"{DEVICES}/anemone").json()
    assert client.get(f"{DEVICES}/urchin").json()["available_at"].endswith("Z")


def test_status_can_be_changed(client: httpx.Client) -> None:
    client.post("/_simulator/backends/anemone", json={"status": "unavailable"})
    assert client.get(f"{DEVICES}/anemone").json()["status"] == "unavailable"
    state = client.get("/_simulator/state").json()["oqtopus_devices"]
    assert state["anemone"]["status"] == "unavailable"


def test_strangers_and_unknown_names_are_refused(client: httpx.Client) -> None:
    answer = client.get(f"{DEVICES}/nowhere")
    assert (answer.status_code, answer.json()) == (404, {"message": "device not found"})
    client.headers["q-api-token"] = "stranger"
    assert [client.get(path).status_code for path in (DEVICES, f"{DEVICES}/anemone")] == [401, 401]
