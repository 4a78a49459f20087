# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs with the public client, in sbatch jobs: acquired, run, results, released."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loopback.clients import install_client
from loopback.installation import REPOSITORY
from spank_qrmi.clients import CLIENTS
from tests.e2e.conftest import MUNGE_SOCKET, SHOWN
from tests.slurm.product import Product

PROGRAMS = Path(__file__).parent / "programs"
SHOTS = 1000

IBM_QPUS = {
    "0.18.0": ("ibm_torino", "ibm_sherbrooke"),
    "newest": ("ibm_sherbrooke", "ibm_kingston", "ibm_marrakesh"),
}
"""Clients of the public package, each with QPUs whose types it knows."""

of_each_client = pytest.mark.parametrize("client", IBM_QPUS)


def run_program(
    product: Product,
    client: str,
    program: str,
    *qpus: str,
    user: str | None = None,
) -> list[Any]:
    """Run a program in a user's job with these QPUs; return the JSON lines that it prints."""
    entries = [product.entry(qpu) for qpu in qpus]
    # A session may live shorter than the job; the service refuses what could outlast it.
    limits = {
        f"{entry['name']}_{key}": "500"
        for entry in entries
        for key in CLIENTS[entry["type"]].keys
        if key.endswith("SESSION_MAX_TTL")
    }
    for entry in entries:
        environment = entry["environment"]
        # The plugin repairs them for itself; a client would ask for /v1//backends, and fail.
        for key in environment.keys() & {*CLIENTS[entry["type"]].sent_to}:
            environment[key] = f" {environment[key]}/ "
    product.write_plugstack(mode="required", config=product.write_config(*entries))
    shown = product.cluster.folder / SHOWN
    words = (install_client(client) / "python", PROGRAMS / program)
    command = " ".join(str(shown / each.relative_to(REPOSITORY)) for each in words)
    options = (f"--qpu={','.join(qpus)}", "--time=10")
    result = product.submit(command, *options, user=user, env=limits).wait(600)
    assert (result.state, result.exit_code) == ("COMPLETED", "0:0"), result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@of_each_client
def test_bell_circuit_of_a_sampler(product: Product, client: str):
    printed = run_program(product, client, "ibm_sampler.py", *IBM_QPUS[client])

    assert sorted(qpu for qpu, *_ in printed) == sorted(IBM_QPUS[client])
    for qpu, bell, rotation, _logs in printed:
        assert set(bell) == {"00", "11"}, qpu
        assert sum(bell.values()) == SHOTS, qpu
        assert rotation == {"10": SHOTS}, qpu


@of_each_client
def test_bell_circuit_of_an_estimator(product: Product, client: str):
    printed = run_program(product, client, "ibm_estimator.py", *IBM_QPUS[client])

    assert sorted(each["resource"] for each in printed) == sorted(IBM_QPUS[client])
    for each in printed:
        assert each["values"] == pytest.approx([1.0, 1.0, -0.5], abs=0.1), each


@of_each_client
def test_tasks_on_a_server_of_iqm_and_on_a_target_of_alice_and_bob(product: Product, client: str):
    qpus = ("garnet_mock", "ab_emu_40q_physical_cats")
    printed = run_program(product, client, "fixed_result.py", *qpus)

    results = {kind: (status, result) for kind, status, result in printed}
    status, result = results.pop("ResourceType.IQMServer")
    assert (status, json.loads(result)) == (
        "TaskStatus.Completed",
        {
            "measurements": [{"m": [[0, 0]] * 3}],
            "measurement_counts": [{"counts": {"00": 3}, "measurement_keys": ["m"]}],
        },
    )
    assert results == {"ResourceType.AliceBobFelis": ("TaskStatus.Completed", "0,3\n")}


@pytest.fixture
def munged(product: Product) -> Iterator[None]:
    """The cluster's munged is where users' programs look for one."""
    place = product.cluster.folder / "run" / MUNGE_SOCKET
    place.symlink_to(product.cluster.munge_socket)
    yield
    place.unlink()


@pytest.mark.usefixtures("munged")
@pytest.mark.parametrize("qpu", ["ORION", "VEGA"])
def test_sequence_of_a_user_on_a_qpu_behind_warden(product: Product, qpu: str):
    [printed] = run_program(product, "newest", "pasqal_local.py", qpu, user="nobody")

    assert printed == {
        "accessible": True,
        "status": "online",
        "task": "TaskStatus.Completed",
        "result": {"counter": {"00": 3}},
        "device": qpu,
        "logs": "job 1: simulated\n",
    }


def test_client_without_munged_sees_a_qpu_behind_warden_but_cannot_use_it(product: Product):
    [printed] = run_program(product, "newest", "pasqal_local.py", "ORION", user="nobody")

    error = "munge encode failed: Socket communication error"
    assert printed == {"accessible": True, "status": "online", "error": error}


def test_status_of_the_newer_types_of_ibm(product: Product):
    [printed] = run_program(product, "newest", "status.py", "ibm_kingston", "ibm_marrakesh")

    system, service = printed["ibm_kingston"], printed["ibm_marrakesh"]
    assert (system["status"], system["busy"]) == ("online", False)
    assert system["capacity"] == {"available_slots": 5, "max_slots": 5}
    assert (service["status"], service["pending_job_count"]) == ("online", 0)
    versioned = {
        each["path"]
        for each in product.site.requests()
        if "ibm-api-version" in each["headers_present"]
    }
    assert versioned == {"/runtime/api/v1/backends", "/runtime/api/v1/jobs"}


@pytest.mark.parametrize("others", [(), ("garnet_mock",)], ids=["alone", "with_another"])
def test_client_without_its_bridge_has_no_device_of_oqtopus(
    product: Product, others: tuple[str, ...]
):
    [printed] = run_program(product, "newest", "failure.py", "anemone", *others)

    # It looks for a library of Python first, which it does not find for every release.
    assert printed["error"].startswith(
        ("failed to load liboqtopus_py_bridge.so: ", "libpython not found ")
    )
    assert "GET /oqtopus/devices/anemone" in product.site.asked()
