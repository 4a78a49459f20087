# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated Warden over HTTP, in both versions: sessions, jobs, and whom it believes."""

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from spank_qrmi_simulator import munge, retention
from spank_qrmi_simulator.munge import AnyMunge, Decoded, Unmunge
from spank_qrmi_simulator.site import Site
from spank_qrmi_simulator.warden import IDLE_SECONDS

NUMBERS = itertools.count()
ORDERS = {
    1: {"user_id": "1000", "slurm_job_id": "7"},
    2: {"user_id": "1000", "scheduler_job_id": "7"},
}


@pytest.fixture
def client(site: Site, base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, trust_env=False, timeout=10) as client:
        client.post("/_simulator/reset")
        yield client


def proof() -> dict[str, str]:
    return {"X-Munge-Cred": f"MUNGE:{next(NUMBERS)}:"}


def opened(client: httpx.Client, version: int, **changes: object) -> httpx.Response:
    order = {**ORDERS[version], **changes}
    return client.post(f"/warden/{version}/sessions", json=order, headers=proof())


def change(client: httpx.Client, name: str, **changes: object) -> None:
    client.post(f"/_simulator/backends/{name}", json=changes).raise_for_status()


def test_access_is_shown_to_everybody(client: httpx.Client) -> None:
    change(client, "ORION", is_accessible=False, message="Maintenance")
    answers = [client.get(f"/warden/{version}/accessible").json() for version in (1, 2)]
    assert answers[0] == {"is_accessible": False, "message": "Maintenance"}
    assert answers[1]["is_accessible"] is True
    assert client.get("/warden/3/accessible").json() == {"detail": "Not Found"}


def test_version_1_opens_a_session_each_time_and_revokes_twice(client: httpx.Client) -> None:
    first, second = (opened(client, 1).json() for _ in range(2))
    assert first["id"] != second["id"]
    assert first["revoked_at"] is None
    for _ in range(2):
        answer = client.delete(f"/warden/1/sessions/{first['id']}", headers=proof())
        assert answer.json()["revoked_at"] is not None
    answer = client.delete("/warden/1/sessions/none", headers=proof())
    assert (answer.status_code, answer.json()) == (404, {"detail": "Session not found."})
    assert client.delete("/warden/1/sessions", headers=proof()).status_code == 405


def test_version_2_gives_a_job_its_session_again(client: httpx.Client) -> None:
    first, second = (opened(client, 2) for _ in range(2))
    assert first.json() == second.json()
    assert opened(client, 2, qpu_slots=2).status_code == 409
    assert opened(client, 2, scheduler_job_id="8").json()["id"] != first.json()["id"]


def test_version_2_revokes_by_header(client: httpx.Client) -> None:
    session_id = opened(client, 2).json()["id"]
    path = f"/warden/2/sessions/{session_id}"
    assert client.delete(path, headers=proof()).status_code == 405
    change(client, "VEGA", has_session_path=False)
    assert client.delete(path, headers=proof()).json() == {"detail": "Not Found"}
    assert client.delete("/warden/2/sessions", headers=proof()).status_code == 403
    for name, status in ((session_id, 200), ("none", 404)):
        headers = {**proof(), "X-Warden-Session": name}
        assert client.delete("/warden/2/sessions", headers=headers).status_code == status


def test_slots_are_counted(client: httpx.Client) -> None:
    change(client, "VEGA", qpu_slots_total=3)
    first = opened(client, 2, qpu_slots=2).json()["id"]
    shown = {"qpu_slots_total": 3, "qpu_slots_used": 2, "qpu_slots_available": 1}
    assert client.get("/warden/2/qpu-slots").json() == shown
    assert client.get("/warden/1/qpu-slots").json() == {"detail": "Not Found"}
    refused = opened(client, 2, scheduler_job_id="8", qpu_slots=2)
    assert refused.json() == {"detail": "Not enough QPU slots available."}
    client.delete("/warden/2/sessions", headers={**proof(), "X-Warden-Session": first})
    assert opened(client, 2, scheduler_job_id="8", qpu_slots=2).status_code == 200


def test_session_of_version_2_ends_when_it_is_idle() -> None:
    now = [0.0]
    site = Site(lambda: now[0], decode=AnyMunge())
    assert site.decode("MUNGE:x:") == Decoded(0)
    session = site.open_session(site.accounts[0], "VEGA", "warden", IDLE_SECONDS)
    now[0] = IDLE_SECONDS
    assert site.session(session.session_id).closed_how == "expired"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("version", "changes", "places"),
    [
        (1, {"slurm_job_id": 7}, [("string_type", ["body", "slurm_job_id"])]),
        (2, {"scheduler_job_id": None}, [("string_type", ["body", "scheduler_job_id"])]),
        (2, {"qpu_slots": 0}, [("int_type", ["body", "qpu_slots"])]),
        (2, {"qpu_slots": True}, [("int_type", ["body", "qpu_slots"])]),
    ],
)
def test_wrong_body_is_repeated(
    client: httpx.Client, version: int, changes: dict[str, object], places: list[object]
) -> None:
    answer = opened(client, version, **changes)
    assert answer.status_code == 422
    assert [(each["type"], each["loc"]) for each in answer.json()["detail"]] == places
    assert "input" in answer.json()["detail"][0]


def test_body_of_the_other_version_lacks_something(client: httpx.Client) -> None:
    answer = client.post("/warden/2/sessions", json=ORDERS[1], headers=proof())
    [problem] = answer.json()["detail"]
    assert (problem["type"], problem["loc"]) == ("missing", ["body", "scheduler_job_id"])


@pytest.mark.parametrize(
    ("changes", "status", "detail"),
    [
        ({"munge": "expired"}, 401, "MUNGE credential expired"),
        ({"munge": "undecodable"}, 500, "MUNGE decode failed"),
        ({"admin_uid": 1}, 403, "Endpoint restricted to admin user."),
        ({"only_user": "1"}, 403, "User ID not authorized."),
    ],
)
def test_refusals(
    client: httpx.Client, changes: dict[str, object], status: int, detail: str
) -> None:
    change(client, "ORION", **changes)
    answer = opened(client, 1)
    assert (answer.status_code, answer.json()) == (status, {"detail": detail})


def test_credential_is_needed_and_good_once(client: httpx.Client) -> None:
    def answer_to(headers: dict[str, str]) -> object:
        return client.post("/warden/1/sessions", json=ORDERS[1], headers=headers).json()

    assert answer_to({}) == {"detail": "Missing MUNGE credential"}
    assert answer_to({"X-Munge-Cred": "root"}) == {"detail": "MUNGE decode failed"}
    once = proof()
    assert "id" in answer_to(once)  # type: ignore[operator]
    assert answer_to(once) == {"detail": "MUNGE credential replayed"}


SEQUENCE = json.dumps(
    {"register": [{"name": "q0", "x": 0, "y": 0}, {"name": "q1", "x": 5, "y": 0}]}
)
JOB_ORDER = {"sequence": SEQUENCE, "shots": 3}


def submitted(
    client: httpx.Client, version: int, session_id: str, **changes: object
) -> httpx.Response:
    headers = {**proof(), "X-Warden-Session": session_id}
    return client.post(f"/warden/{version}/jobs", json={**JOB_ORDER, **changes}, headers=headers)


@pytest.mark.parametrize("version", [1, 2])
def test_job_ends_at_once_with_every_atom_as_0(client: httpx.Client, version: int) -> None:
    session_id = opened(client, version, user_id="0").json()["id"]
    answer = submitted(client, version, session_id)
    job = answer.json()
    assert answer.status_code == 200
    assert job.keys() == {"id", "user_id", "created_at", "status", "results"}
    assert (job["id"], job["user_id"], job["status"]) == (1, "0", "DONE")
    assert json.loads(job["results"]) == {"counter": {"00": 3}}
    path = f"/warden/{version}/jobs"
    assert client.get(path, headers=proof()).json() == [job]
    assert client.get(f"{path}/1", headers=proof()).json() == job
    assert client.post(f"{path}/1/cancel", headers=proof()).json() == job
    logs = client.get(f"{path}/1/logs", headers=proof()).json()
    assert logs == {"logs": "job 1: simulated\n"}


@pytest.mark.parametrize("sequence", ["", "[]", "{}", '{"register": []}', '{"register": "q"}'])
def test_job_without_atoms_fails(client: httpx.Client, sequence: str) -> None:
    session_id = opened(client, 1, user_id="0").json()["id"]
    job = submitted(client, 1, session_id, sequence=sequence).json()
    assert (job["status"], job["results"]) == ("ERROR", None)


def test_job_needs_an_open_session_of_its_user(client: httpx.Client) -> None:
    own, others = (opened(client, 1, user_id=uid).json()["id"] for uid in ("0", "1000"))
    client.delete(f"/warden/1/sessions/{own}", headers=proof())
    elsewhere = opened(client, 2, user_id="0").json()["id"]
    expected = {
        own: (403, "Session has been revoked."),
        others: (403, "Session belongs to another user."),
        elsewhere: (404, "Session not found."),
    }
    for session_id, (status, detail) in expected.items():
        answer = submitted(client, 1, session_id)
        assert (answer.status_code, answer.json()) == (status, {"detail": detail})
    answer = client.post("/warden/1/jobs", json=JOB_ORDER, headers=proof())
    assert (answer.status_code, answer.json()) == (403, {"detail": "Missing session."})
    assert client.get("/warden/1/jobs", headers=proof()).json() == []


def test_wrong_order_of_a_job_is_repeated(client: httpx.Client) -> None:
    session_id = opened(client, 1, user_id="0").json()["id"]
    for changes, places in (
        ({"sequence": {}}, [("string_type", "sequence")]),
        *(({"shots": shots}, [("int_type", "shots")]) for shots in (0, True, "1", None)),
    ):
        answer = submitted(client, 1, session_id, **changes)
        found = [(each["type"], each["loc"][1]) for each in answer.json()["detail"]]
        assert (answer.status_code, found) == (422, places), changes
    headers = {**proof(), "X-Warden-Session": session_id}
    problems = client.post("/warden/1/jobs", json={}, headers=headers).json()["detail"]
    assert [each["type"] for each in problems] == ["missing", "missing"]


def test_jobs_are_their_users_and_their_qpus(
    site: Site, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(client, 1, opened(client, 1, user_id="0").json()["id"])
    assert client.get("/warden/2/jobs/1", headers=proof()).status_code == 404
    assert client.get("/warden/2/jobs", headers=proof()).json() == []
    monkeypatch.setattr(site, "decode", lambda _: Decoded(1000))
    for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/logs")):
        answer = client.request(method, f"/warden/1/jobs/1{path}", headers=proof())
        assert (answer.status_code, answer.json()) == (404, {"detail": "Job not found."})
    assert client.get("/warden/1/jobs", headers=proof()).json() == []


def test_oldest_jobs_are_forgotten(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "REMEMBERED", 1)
    session_id = opened(client, 1, user_id="0").json()["id"]
    for _ in range(2):
        submitted(client, 1, session_id)
    assert [each["id"] for each in client.get("/warden/1/jobs", headers=proof()).json()] == [2]


def accounts(client: httpx.Client, query: str = "", version: int = 2) -> httpx.Response:
    return client.get(f"/warden/{version}/accounting/jobs?{query}", headers=proof())


def test_accounts_are_told_of_each_job(client: httpx.Client) -> None:
    first, second = (
        opened(client, 2, user_id="0", scheduler_job_id=each).json()["id"] for each in "78"
    )
    for session_id, changes in ((first, {}), (first, {"sequence": ""}), (second, {"shots": 7})):
        submitted(client, 2, session_id, **changes)
    found = accounts(client, f"session_id={first}").json()
    assert found["pagination"] == {"total": 2, "start": 0, "end": 2}
    of_first = {"user_id": "0", "session_id": first, "slurm_job_id": "7", "wait_time": 0}
    assert found["data"] == [
        {**of_first, "id": 1, "status": "DONE", "shots": 3, "execution_time": 3},
        {**of_first, "id": 2, "status": "ERROR", "shots": 3, "execution_time": 0},
    ]
    for query, ids in {
        "": [1, 2, 3],
        "status=DONE&slurm_job_id=7": [1],
        "slurm_job_id=7&slurm_job_id=8": [1, 2, 3],
        "limit=1&offset=1": [2],
        "offset=9&user_id=0": [],
        "user_id=1": [],
        "ended_after=2026-01-01T00:00:00Z": [1, 2, 3],
        "ended_before=2026-01-01T00:00:00": [],
    }.items():
        assert [each["id"] for each in accounts(client, query).json()["data"]] == ids, query


def test_accounts_are_for_administrators_of_version_2(client: httpx.Client) -> None:
    assert accounts(client, version=1).json() == {"detail": "Not Found"}
    for query in ("limit=0", "limit=101", "offset=-1", "limit=x", "ended_after=noon"):
        answer = accounts(client, query)
        key = query.partition("=")[0]
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", key])
    change(client, "VEGA", admin_uid=1)
    assert accounts(client).json() == {"detail": "Endpoint restricted to admin user."}


def test_specs_are_a_text_with_the_qpus_name(client: httpx.Client) -> None:
    shown = client.get("/warden/1/qpu/specs", headers=proof()).json()
    assert json.loads(shown["specs"])["name"] == "ORION"


def test_jobs_and_specs_need_a_credential(client: httpx.Client) -> None:
    for method, path in (
        ("POST", "jobs"),
        ("GET", "jobs"),
        ("GET", "jobs/1"),
        ("GET", "qpu/specs"),
    ):
        answer = client.request(method, f"/warden/1/{path}")
        assert (answer.status_code, answer.json()) == (401, {"detail": "Missing MUNGE credential"})


UNMUNGE = """#!/bin/sh
read -r credential
echo "$@" > {folder}/words
case $credential in
    good) echo 'STATUS:  0'; echo 'UID:  1000'; exit 0 ;;
    old) exit 15 ;;
    again) exit 17 ;;
esac
exit 9
"""


def test_munged_is_asked_by_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "unmunge"
    program.write_text(UNMUNGE.format(folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    texts = ("good", "old", "again", "x")
    found = [Unmunge("/run/m")(text) for text in texts]
    problems = ["", "expired", "replayed", "undecodable"]
    assert [each.problem for each in found] == problems
    assert found[0].uid == 1000
    assert (tmp_path / "words").read_text().split()[-1] == "--socket=/run/m"


def test_machine_without_munge_decodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("unmunge", 10)

    monkeypatch.setattr(munge.subprocess, "run", fail)
    assert Unmunge()("x") == munge.UNDECODABLE
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "/nowhere")
    assert Unmunge()("x") == munge.UNDECODABLE
