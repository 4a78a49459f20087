# SPDX-License-Identifier: GPL-3.0-or-later
"""Direct Access jobs of the simulated site: submitted, run, cancelled, deleted, refused."""

import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import orjson
import pytest

from spank_qrmi_simulator import quantum_system_jobs
from spank_qrmi_simulator import site as names
from spank_qrmi_simulator.execution import direct_access
from spank_qrmi_simulator.execution.errors import ExecutionError
from spank_qrmi_simulator.site import Site
from tests.simulator_client import (
    BELL,
    FLIP,
    LONG_INPUT,
    headers_of,
    sampler_input,
    wait_for_end,
)

API = "/direct-access/v1"
RUN_ORDER = {"program_id": "sampler", "model": "torino", "noise": False}


class Storage(ThreadingHTTPServer):
    """What an S3 service does with presigned URLs; objects without content are forbidden."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), StorageHandler)
        self.objects: dict[str, bytes] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class StorageHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Storage)
        content = self.server.objects.get(self.path, b"")
        self.send_response(200 if content else 403)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_PUT(self) -> None:
        assert isinstance(self.server, Storage)
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.objects[self.path] = content
        self.send_response(403 if "forbidden" in self.path else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with Storage() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@pytest.fixture
def client(site: Site, base_url: str, storage: Storage) -> Iterator[httpx.Client]:
    site.reset()
    storage.objects.clear()
    with httpx.Client(base_url=base_url, trust_env=False, timeout=10) as client:
        client.headers.update(headers_of(site, 0))
        yield client


def order(storage: Storage, job_id: str = "job-1", **changes: object) -> dict[str, object]:
    objects = {
        key: {"type": "s3_compatible", "presigned_url": f"{storage.url}/{key}"}
        for key in ("input", "results", "logs")
    }
    return {
        "id": job_id,
        "backend": "ibm_torino",
        "program_id": "sampler",
        "log_level": "debug",
        "timeout_secs": 600,
        "storage": objects,
        **changes,
    }


def submit_waiting(client: httpx.Client, storage: Storage, job_id: str = "job-1") -> httpx.Response:
    """Submit a job that waits: its backend is paused."""
    return client.post(f"{API}/jobs", json=order(storage, job_id, backend="ibm_paused"))


def test_job_runs_from_storage_to_storage(client: httpx.Client, storage: Storage) -> None:
    storage.objects["/input"] = orjson.dumps(sampler_input(BELL))
    sent = order(storage)
    submitted = client.post(f"{API}/jobs", json=sent)
    assert (submitted.status_code, submitted.content) == (204, b"")
    job = wait_for_end(client, f"{API}/jobs/job-1")
    assert job.items() >= sent.items()
    assert job["status"] == "Completed"
    assert str(job["created_time"]) < str(job["end_time"])
    assert str(job["end_time"]).endswith("Z")
    assert job["usage"]["quantum_nanoseconds"] > 0  # type: ignore[index]
    bits = orjson.loads(storage.objects["/results"])["results"][0]["data"]["meas"]
    assert bits["num_bits"] == 2
    assert (len(bits["samples"]), set(bits["samples"])) == (100, {"0x0", "0x3"})
    assert b"sampler" in storage.objects["/logs"]


def test_failure_is_told_in_the_job_and_in_its_log(client: httpx.Client, storage: Storage) -> None:
    storage.objects["/input"] = orjson.dumps(sampler_input(BELL.replace("sx $50", "h $50")))
    client.post(f"{API}/jobs", json=order(storage))
    job = wait_for_end(client, f"{API}/jobs/job-1")
    assert (job["status"], job["reason_code"]) == ("Failed", 1517)
    assert "the instruction h on qubits (50,) is not supported" in str(job["reason_message"])
    assert b"the instruction h" in storage.objects["/logs"]
    assert "/results" not in storage.objects


@pytest.mark.parametrize(
    ("content", "results", "reason"),
    [
        (b"", "results", "the input cannot be fetched: HTTP 403"),
        (b"{", "results", "the input is not JSON"),
        (b"[]", "results", "the input must be a JSON object"),
        (orjson.dumps(sampler_input(FLIP)), "forbidden", "cannot be stored: HTTP 403"),
    ],
)
def test_storage_that_fails_fails_the_job(
    storage: Storage, content: bytes, results: str, reason: str
) -> None:
    storage.objects = {"/input": content}
    keys = {"input": "input", "results": results, "logs": "logs"}
    urls = {key: f"{storage.url}/{name}" for key, name in keys.items()}
    with pytest.raises(ExecutionError, match=reason) as failure:
        direct_access.run({**RUN_ORDER, "storage": urls})
    # A presigned URL is a secret.
    assert storage.url not in str(failure.value)
    assert reason.encode() in storage.objects["/logs"]


def test_log_is_optional_and_storage_may_be_gone(storage: Storage) -> None:
    storage.objects = {"/input": orjson.dumps(sampler_input(FLIP))}
    urls = {key: f"{storage.url}/{key}" for key in ("input", "results")}
    outcome = direct_access.run({**RUN_ORDER, "storage": urls})
    assert int(str(outcome["quantum_nanoseconds"])) > 0
    assert storage.objects.keys() == {"/input", "/results"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}/input"
    with pytest.raises(ExecutionError, match="the input cannot be fetched: ConnectError"):
        direct_access.run({**RUN_ORDER, "storage": {**urls, "input": nowhere}})


def test_job_is_cancelled_and_deleted(client: httpx.Client, storage: Storage) -> None:
    assert submit_waiting(client, storage).status_code == 204
    path = f"{API}/jobs/job-1"
    assert client.get(path).json()["status"] == "Running"
    refused = client.delete(path)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (409, "1337")
    assert client.post(f"{path}/cancel").status_code == 204
    assert client.get(path).json()["status"] == "Cancelled"
    refused = client.post(f"{path}/cancel")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (409, "1306")
    assert client.delete(path).status_code == 204
    missing = [client.get(path), client.delete(path), client.post(f"{path}/cancel")]
    assert {(one.status_code, one.json()["errors"][0]["code"]) for one in missing} == {
        (404, "1291")
    }


def test_cancelled_job_says_so_in_its_log(client: httpx.Client, storage: Storage) -> None:
    submit_waiting(client, storage)
    assert client.post(f"{API}/jobs/job-1/cancel").status_code == 204
    assert storage.objects == {"/logs": b"The job was cancelled.\n"}


def test_job_that_runs_too_long_says_so_in_its_log(client: httpx.Client, storage: Storage) -> None:
    storage.objects["/input"] = orjson.dumps(LONG_INPUT)
    client.post(f"{API}/jobs", json=order(storage, timeout_secs=1))
    job = wait_for_end(client, f"{API}/jobs/job-1")
    reason = "The job ran longer than its time limit."
    assert (job["status"], job["reason_message"]) == ("Cancelled", reason)
    assert storage.objects["/logs"] == f"{reason}\n".encode()


def test_job_whose_worker_dies_says_so_in_its_log(
    client: httpx.Client, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantum_system_jobs, "RUN_FUNCTION", "simulator.tests.worker_functions:die")
    client.post(f"{API}/jobs", json=order(storage))
    assert wait_for_end(client, f"{API}/jobs/job-1")["status"] == "Failed"
    assert storage.objects == {"/logs": b"the simulation's process ended unexpectedly\n"}


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/logs?X-Amz-Signature=s", "http://[::x", f"http://{'x' * 64}/logs"],
)
def test_cancelling_needs_no_storage(
    client: httpx.Client, storage: Storage, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    stored = {"type": "s3_compatible", "presigned_url": url}
    objects = {"input": stored, "results": stored, "logs": stored}
    sent = {**order(storage, backend="ibm_paused"), "storage": objects}
    with caplog.at_level("INFO", logger="spank_qrmi_simulator"):
        assert client.post(f"{API}/jobs", json=sent).status_code == 204
        assert client.post(f"{API}/jobs/job-1/cancel").status_code == 204
    assert client.get(f"{API}/jobs/job-1").json()["status"] == "Cancelled"
    complaints = [text for text in caplog.messages if "cannot be stored" in text]
    assert len(complaints) == 1
    assert url not in complaints[0]


def test_job_without_a_log_is_cancelled(client: httpx.Client, storage: Storage) -> None:
    sent = order(storage, backend="ibm_paused")
    objects = dict(sent["storage"])
    del objects["logs"]
    client.post(f"{API}/jobs", json={**sent, "storage": objects})
    assert client.post(f"{API}/jobs/job-1/cancel").status_code == 204
    assert storage.objects == {}


def test_held_job_stays_running_until_it_is_let_go(client: httpx.Client, storage: Storage) -> None:
    storage.objects["/input"] = orjson.dumps(sampler_input(FLIP))
    backend = "/_simulator/backends/ibm_torino"
    assert client.post(backend, json={"holds_jobs": True}).status_code == 204
    state = client.get("/_simulator/state").json()
    assert state["quantum_system_backends"]["ibm_torino"]["holds_jobs"]
    for job_id in ("held", "cancelled"):
        client.post(f"{API}/jobs", json=order(storage, job_id))
    assert client.get(f"{API}/backends/ibm_torino").json()["status"] == "online"
    client.post(f"{API}/jobs/cancelled/cancel")
    assert client.get(f"{API}/jobs/cancelled").json()["status"] == "Cancelled"
    assert client.get(f"{API}/jobs/held").json()["status"] == "Running"
    assert "/results" not in storage.objects
    client.post(backend, json={"holds_jobs": False})
    assert wait_for_end(client, f"{API}/jobs/held")["status"] == "Completed"


def test_storage_of_ibm_cloud_is_refused_by_name(client: httpx.Client, storage: Storage) -> None:
    cloud = {"type": "ibmcloud_cos", "region": "us-east", "region_type": "regional"}
    cloud |= {"bucket_crn": "crn:v1:bucket", "object_name": "input.json"}
    sent = order(storage)
    sent["storage"] = {"input": cloud, "results": cloud}
    refused = client.post(f"{API}/jobs", json=sent)
    errors = refused.json()["errors"]
    message = "The simulated site has no storage of type ibmcloud_cos: s3_compatible is offered."
    assert [(one["code"], one["message"]) for one in errors] == [("1337", message)] * 2
    assert [one["location"] for one in errors] == ["storage.input.type", "storage.results.type"]
    assert refused.status_code == 400


def test_waiting_job_runs_when_its_backend_comes_online(
    client: httpx.Client, storage: Storage
) -> None:
    storage.objects["/input"] = orjson.dumps(sampler_input(FLIP))
    submit_waiting(client, storage)
    client.post("/_simulator/backends/ibm_paused", json={"status": "online"})
    assert wait_for_end(client, f"{API}/jobs/job-1")["status"] == "Completed"


def test_jobs_hold_lanes_until_they_are_deleted(client: httpx.Client, storage: Storage) -> None:
    lanes = client.get(f"{API}/backends/ibm_paused/lanes").json()["hpc_workload_manager"]["lanes"]
    for number in range(lanes):
        assert submit_waiting(client, storage, f"job-{number}").status_code == 204
    client.post(f"{API}/jobs/job-0/cancel")
    refused = submit_waiting(client, storage, "late")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, "1232")
    client.delete(f"{API}/jobs/job-0")
    assert submit_waiting(client, storage, "late").status_code == 204
    listed = [job["id"] for job in client.get(f"{API}/jobs").json()["jobs"]]
    assert listed == ["job-1", "job-2", "job-3", "job-4", "late"]


def test_locked_backend_takes_no_jobs(client: httpx.Client, storage: Storage) -> None:
    change = {"locked": True, "lanes": 0, "message": "for others"}
    client.post("/_simulator/backends/ibm_paused", json=change)
    shown = client.get(f"{API}/backends/ibm_paused").json()
    assert (shown["locked"], shown["message"]) == (True, "for others")
    lanes = client.get(f"{API}/backends/ibm_paused/lanes").json()["hpc_workload_manager"]
    assert lanes == {"lanes": 0}
    refused = submit_waiting(client, storage)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (423, "1233")


def test_job_id_is_used_once(client: httpx.Client, storage: Storage) -> None:
    submit_waiting(client, storage)
    refused = submit_waiting(client, storage)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (409, "1231")


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"id": ""}, "id", "string_too_short"),
        ({"id": "x" * 257}, "id", "string_too_long"),
        ({"id": 5}, "id", "string_type"),
        ({"backend": None}, "backend", "string_type"),
        ({"program_id": "circuit-runner"}, "program_id", "enum"),
        ({"log_level": "trace"}, "log_level", "enum"),
        ({"timeout_secs": 0}, "timeout_secs", "greater_than_equal"),
        ({"timeout_secs": True}, "timeout_secs", "int_type"),
        ({"colour": "red"}, "colour", "extra_forbidden"),
        ({"storage": []}, "storage", "model_type"),
        ({"storage": {"input": 5, "results": 5}}, "storage.input", "model_type"),
        ({"storage": {"results": 5}}, "storage.input", "missing"),
        ({"storage": {"input": {"type": "ftp"}}}, "storage.input.type", "enum"),
        ({"storage": {"input": {}}}, "storage.input.presigned_url", "url_type"),
    ],
)
def test_orders_are_checked(
    client: httpx.Client, storage: Storage, changes: dict[str, object], field: str, code: str
) -> None:
    refused = client.post(f"{API}/jobs", json=order(storage) | changes)
    document = refused.json()
    assert (refused.status_code, document["status_code"], document["title"]) == (
        400,
        400,
        "validation failed",
    )
    assert (field, code) in [(one["target"]["name"], one["code"]) for one in document["errors"]]
    assert client.get(f"{API}/jobs").json() == {"jobs": []}


def test_empty_order_names_every_missing_field(client: httpx.Client) -> None:
    errors = client.post(f"{API}/jobs", json={}).json()["errors"]
    assert [one["location"] for one in errors] == [
        "id",
        "backend",
        "program_id",
        "timeout_secs",
        "storage",
    ]


def test_order_for_an_unknown_backend_is_refused_in_another_shape(
    client: httpx.Client, storage: Storage
) -> None:
    refused = client.post(f"{API}/jobs", json=order(storage, backend="ibm_nowhere"))
    assert (refused.status_code, refused.json().keys()) == (400, {"detail"})


def test_reserved_backend_is_a_fault_with_its_code(client: httpx.Client, storage: Storage) -> None:
    fault = {"kind": "status", "status": 423, "path": "/v1/jobs"}
    client.post("/_simulator/faults", json=fault)
    refused = client.post(f"{API}/jobs", json=order(storage))
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (423, "1233")


def test_versions_need_no_authorisation(base_url: str) -> None:
    with httpx.Client(base_url=base_url, trust_env=False) as anyone:
        newest = anyone.get("/direct-access/version").json()["version"]
        assert newest in anyone.get("/direct-access/versions").json()["versions"]
        for path in ("/jobs", "/jobs/x", "/backends/ibm_torino/configuration"):
            refused = anyone.get(f"{API}{path}")
            assert (refused.status_code, refused.json()["errors"][0]["code"]) == (401, "1201")


@pytest.mark.parametrize(("name", "qubits"), [("ibm_torino", 133), ("ibm_quebec", 127)])
def test_backend_is_described_like_the_real_machine(
    client: httpx.Client, name: str, qubits: int
) -> None:
    configuration = client.get(f"{API}/backends/{name}/configuration").json()
    properties = client.get(f"{API}/backends/{name}/properties").json()
    assert (configuration["backend_name"], configuration["n_qubits"]) == (name, qubits)
    assert (properties["backend_name"], len(properties["qubits"])) == (name, qubits)
    refused = client.get(f"{API}/backends/{name}/defaults")
    assert refused.status_code == 501


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "1200"),
        ("Bearer x", "1200"),
        ("Basic ???", "1201"),
        ("Basic \xff", "1201"),
        ("Basic " + b64encode(b"\xff").decode(), "1201"),
        ("Basic " + b64encode(b"simulator-client:wrong").decode(), "1201"),
    ],
)
def test_app_id_refuses_wrong_credentials(
    base_url: str, authorization: str | None, code: str
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    refused = httpx.post(f"{base_url}{API}/token", headers=headers, trust_env=False)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (401, code)


def test_app_id_token_needs_no_service_crn(
    client: httpx.Client, base_url: str, storage: Storage
) -> None:
    credentials = (names.APP_ID_CLIENT_ID, names.APP_ID_SECRET)
    answer = httpx.post(f"{base_url}{API}/token", auth=credentials, trust_env=False).json()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    with httpx.Client(base_url=f"{base_url}{API}", headers=headers, trust_env=False) as member:
        assert member.post("/jobs", json=order(storage, backend="ibm_paused")).status_code == 204
        assert [job["id"] for job in member.get("/jobs").json()["jobs"]] == ["job-1"]
        assert member.post("/jobs/job-1/cancel").status_code == 204
        assert member.delete("/jobs/job-1").status_code == 204
    runtime = httpx.get(f"{base_url}/runtime/api/v1/jobs", headers=headers, trust_env=False)
    assert runtime.status_code == 403
