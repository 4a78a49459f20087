# SPDX-License-Identifier: GPL-3.0-or-later
"""What no client sends: the site refuses it in its vendor's shape and goes on."""

from collections.abc import Iterator

import httpx
import pytest

from loopback.waiting import wait_until
from spank_qrmi.simulator.answers import LARGEST_BODY_BYTES
from spank_qrmi.simulator.pasqal_tokens import AUTH_TOKEN, PROJECT_ID
from spank_qrmi.simulator.site import Site
from tests.simulator_client import headers_of

DIRECT_ACCESS_JOBS = "/direct-access/v1/jobs"
RUNTIME_JOBS = "/runtime/api/v1/jobs"
RUNTIME_SESSIONS = "/runtime/api/v1/sessions"
BATCHES = "/pasqal/core-fast/api/v1/batches"
IAM = "/iam/identity/token"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def client(site: Site, base_url: str) -> Iterator[httpx.Client]:
    site.reset()
    with httpx.Client(base_url=base_url, trust_env=False, timeout=30) as client:
        client.headers.update(headers_of(site, 0))
        client.headers["Content-Type"] = "application/json"
        yield client


def authorisation_of(client: httpx.Client, path: str) -> dict[str, str]:
    pasqal = {"Authorization": f"Bearer {AUTH_TOKEN}"}
    return pasqal if path == BATCHES else {"Authorization": client.headers["authorization"]}


@pytest.mark.parametrize("path", [DIRECT_ACCESS_JOBS, RUNTIME_JOBS, RUNTIME_SESSIONS, BATCHES])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"id": "\\ud800"}',
        b'{"id": 1e400}',
        b'{"id": NaN}',
        b'{"id":' * 5000,
        b'{"params":' + b"[" * 1000 + b"]" * 1000 + b"}",
        b'{"params":' + b"[" * 253 + b"]" * 253 + b"}",
    ],
)
def test_broken_json_is_refused(client: httpx.Client, path: str, body: bytes) -> None:
    answer = client.post(path, content=body, headers=authorisation_of(client, path))
    assert (answer.status_code, type(answer.json())) == (400, dict)


VALUES = [None, True, -1, 10**18, "", "\0", [], {}, [[]], {"type": []}]
RUNTIME_KEYS = ("program_id", "backend", "log_level", "cost", "session_id", "params", "tags")
DIRECT_ACCESS_KEYS = ("id", "backend", "program_id", "log_level", "timeout_secs", "storage")
STORED = {"type": "s3_compatible", "presigned_url": "http://127.0.0.1:1/x"}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("key", RUNTIME_KEYS)
def test_runtime_survives_values_of_all_types(
    client: httpx.Client, key: str, value: object
) -> None:
    order = {"program_id": "sampler", "backend": "ibm_maintenance", "params": {}, key: value}
    assert client.post(RUNTIME_JOBS, json=order).status_code in (200, 400, 404)
    assert client.get(RUNTIME_JOBS).status_code == 200


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("key", DIRECT_ACCESS_KEYS)
def test_direct_access_survives_values_of_all_types(
    client: httpx.Client, key: str, value: object
) -> None:
    order = {
        "id": "job",
        "backend": "ibm_paused",
        "program_id": "sampler",
        "timeout_secs": 1,
        "storage": {"input": STORED, "results": STORED},
        key: value,
    }
    assert client.post(DIRECT_ACCESS_JOBS, json=order).status_code in (204, 400)
    assert client.get(DIRECT_ACCESS_JOBS).status_code == 200


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("key", ["mode", "max_ttl", "backend", "backend_name"])
def test_sessions_survive_values_of_all_types(
    client: httpx.Client, key: str, value: object
) -> None:
    order = {"mode": "batch", "backend": "ibm_sherbrooke", key: value}
    assert client.post(RUNTIME_SESSIONS, json=order).status_code in (400, 404)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("key", ["sequence_builder", "jobs", "device_type", "project_id"])
def test_pasqal_survives_values_of_all_types(client: httpx.Client, key: str, value: object) -> None:
    order = {
        "sequence_builder": "{}",
        "jobs": [{"runs": 1}],
        "device_type": "EMU_FREE",
        "project_id": PROJECT_ID,
        key: value,
    }
    answer = client.post(BATCHES, json=order, headers=authorisation_of(client, BATCHES))
    assert answer.status_code in (403, 422)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        (DIRECT_ACCESS_JOBS, "application/json"),
        (RUNTIME_JOBS, "application/json"),
        (BATCHES, "application/json"),
        (IAM, FORM),
        ("/pasqal/oauth/token", FORM),
        ("/_simulator/faults", "application/json"),
    ],
)
def test_huge_body_is_refused(client: httpx.Client, path: str, content_type: str) -> None:
    body = bytes(LARGEST_BODY_BYTES + 1)
    headers = {**authorisation_of(client, path), "Content-Type": content_type}
    assert client.post(path, content=body, headers=headers).status_code == 413


def test_huge_body_is_refused_behind_a_fault(client: httpx.Client) -> None:
    fault = {"kind": "delay", "delay_seconds": 0, "path": RUNTIME_JOBS}
    assert client.post("/_simulator/faults", json=fault).status_code == 201
    body = bytes(LARGEST_BODY_BYTES + 1)
    assert client.post(RUNTIME_JOBS, content=body).status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/direct-access/v1/backends/%2e%2e%2f%2e%2e%2fetc%2fpasswd/configuration",
        "/direct-access/v1/backends/..%5c..%5cetc/properties",
        "/runtime/api/v1/backends/%00%ff/configuration",
        "/runtime/api/v1/sessions/%0a",
        "/runtime/api/v1/jobs/..%2f..%2f",
        "/%2e%2e/%2e%2e/etc/passwd",
    ],
)
def test_paths_lead_nowhere_else(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_log_line_stays_one_line(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="spank_qrmi.simulator"):
        client.get("/nowhere%0aready%20http:%1b[2J")
        # The line may come after the answer.
        line = "GET /nowhere%0Aready%20http%3A%1B%5B2J 404"
        wait_until(lambda: line in caplog.messages, 5, "log line")
