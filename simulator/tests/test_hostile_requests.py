# SPDX-License-Identifier: GPL-3.0-or-later
"""What no client sends: the site refuses it in its vendor's shape and goes on."""

from collections.abc import Iterator
from itertools import product

import httpx
import pytest

from loopback.waiting import wait_until
from spank_qrmi_simulator.answers import LARGEST_BODY_BYTES
from spank_qrmi_simulator.pasqal_tokens import AUTH_TOKEN, PROJECT_ID
from spank_qrmi_simulator.site import Site
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


def status_of(client: httpx.Client, path: str, order: dict[str, object]) -> int | str:
    """Return the status of the answer to an order, or why there is none."""
    try:
        return client.post(path, json=order, headers=authorisation_of(client, path)).status_code
    except httpx.HTTPError as error:
        return repr(error)


BROKEN_JSON = [
    b"",
    b"[]",
    b"\xff\xfe",
    b'{"id": "\\ud800"}',
    b'{"id": 1e400}',
    b'{"id": NaN}',
    b'{"id":' * 5000,
    b'{"params":' + b"[" * 1000 + b"]" * 1000 + b"}",
    b'{"params":' + b"[" * 253 + b"]" * 253 + b"}",
]


@pytest.mark.parametrize("path", [DIRECT_ACCESS_JOBS, RUNTIME_JOBS, RUNTIME_SESSIONS, BATCHES])
def test_broken_json_is_refused(client: httpx.Client, path: str) -> None:
    for body in BROKEN_JSON:
        shown = f"{body[:20]!r}, {len(body)} bytes"
        try:
            answer = client.post(path, content=body, headers=authorisation_of(client, path))
            refusal = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            pytest.fail(f"{shown}: {error!r}")
        assert (answer.status_code, type(refusal)) == (400, dict), shown


def test_order_that_is_nested_too_deeply_is_refused(client: httpx.Client) -> None:
    start = b'{"program_id": "sampler", "backend": "ibm_maintenance", "params": {"x":'
    for depth, status in ((200, 200), (252, 400), (1000, 400)):
        body = start + b"[" * depth + b"]" * depth + b"}}"
        assert client.post(RUNTIME_JOBS, content=body).status_code == status, depth


VALUES = [None, True, -1, 10**18, "", "\0", [], {}, [[]], {"type": []}]
RUNTIME_KEYS = ("program_id", "backend", "log_level", "cost", "session_id", "params", "tags")
DIRECT_ACCESS_KEYS = ("id", "backend", "program_id", "log_level", "timeout_secs", "storage")
STORED = {"type": "s3_compatible", "presigned_url": "http://127.0.0.1:1/x"}


def test_runtime_survives_values_of_all_types(client: httpx.Client, site: Site) -> None:
    for key, value in product(RUNTIME_KEYS, VALUES):
        site.reset()
        order = {"program_id": "sampler", "backend": "ibm_maintenance", "params": {}, key: value}
        assert status_of(client, RUNTIME_JOBS, order) in (200, 400, 404), (key, value)
        assert client.get(RUNTIME_JOBS).status_code == 200, (key, value)


def test_direct_access_survives_values_of_all_types(client: httpx.Client, site: Site) -> None:
    for key, value in product(DIRECT_ACCESS_KEYS, VALUES):
        # A job that is taken holds a lane, and orders without a lane are refused.
        site.reset()
        order = {
            "id": "job",
            "backend": "ibm_paused",
            "program_id": "sampler",
            "timeout_secs": 1,
            "storage": {"input": STORED, "results": STORED},
            key: value,
        }
        assert status_of(client, DIRECT_ACCESS_JOBS, order) in (204, 400), (key, value)
        assert client.get(DIRECT_ACCESS_JOBS).status_code == 200, (key, value)


def test_sessions_survive_values_of_all_types(client: httpx.Client) -> None:
    for key, value in product(("mode", "max_ttl", "backend", "backend_name"), VALUES):
        order = {"mode": "batch", "backend": "ibm_sherbrooke", key: value}
        assert status_of(client, RUNTIME_SESSIONS, order) in (400, 404), (key, value)


def test_pasqal_survives_values_of_all_types(client: httpx.Client) -> None:
    for key, value in product(("sequence_builder", "jobs", "device_type", "project_id"), VALUES):
        order = {
            "sequence_builder": "{}",
            "jobs": [{"runs": 1}],
            "device_type": "EMU_FREE",
            "project_id": PROJECT_ID,
            key: value,
        }
        assert status_of(client, BATCHES, order) in (403, 422), (key, value)


def test_huge_body_is_refused(client: httpx.Client) -> None:
    body = bytes(LARGEST_BODY_BYTES + 1)
    content_types = {
        DIRECT_ACCESS_JOBS: "application/json",
        RUNTIME_JOBS: "application/json",
        BATCHES: "application/json",
        IAM: FORM,
        "/pasqal/oauth/token": FORM,
        "/_simulator/faults": "application/json",
    }
    for path, content_type in content_types.items():
        headers = {**authorisation_of(client, path), "Content-Type": content_type}
        assert client.post(path, content=body, headers=headers).status_code == 413, path


def test_huge_body_is_refused_behind_a_fault(client: httpx.Client) -> None:
    fault = {"kind": "delay", "delay_seconds": 0, "path": RUNTIME_JOBS}
    assert client.post("/_simulator/faults", json=fault).status_code == 201
    body = bytes(LARGEST_BODY_BYTES + 1)
    assert client.post(RUNTIME_JOBS, content=body).status_code == 413


def test_paths_lead_nowhere_else(client: httpx.Client) -> None:
    paths = [
        "/direct-access/v1/backends/%2e%2e%2f%2e%2e%2fetc%2fpasswd/configuration",
        "/direct-access/v1/backends/..%5c..%5cetc/properties",
        "/runtime/api/v1/backends/%00%ff/configuration",
        "/runtime/api/v1/sessions/%0a",
        "/runtime/api/v1/jobs/..%2f..%2f",
        "/%2e%2e/%2e%2e/etc/passwd",
    ]
    assert {path: client.get(path).status_code for path in paths} == dict.fromkeys(paths, 404)


def test_log_line_stays_one_line(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="spank_qrmi_simulator"):
        client.get("/nowhere%0aready%20http:%1b[2J")
        # The line may come after the answer.
        line = "GET /nowhere%0Aready%20http%3A%1B%5B2J 404"
        wait_until(lambda: line in caplog.messages, 5, "log line")
