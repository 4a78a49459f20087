# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs with the public client, in sbatch jobs: acquired, run, results, released."""

import json
from pathlib import Path
from typing import Any

import pytest

from loopback.clients import install_client
from spank_qrmi.clients import CLIENTS
from tests.slurm.product import Product

PROGRAMS = Path(__file__).parent / "programs"
JOB_SECONDS = 600

SHOTS = 1000

IBM_QPUS = [
    *(("0.18.0", "ibm_torino"), ("0.18.0", "ibm_sherbrooke"), ("newest", "ibm_sherbrooke")),
    *(("newest", "ibm_kingston"), ("newest", "ibm_marrakesh")),
]
"""Clients of the public package, each with QPUs whose types it knows."""


def run_program(product: Product, client: str, program: str, *qpus: str) -> dict[str, Any]:
    """Run a program in a job with these QPUs; return the JSON that it prints."""
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
        for key in CLIENTS[entry["type"]].sent_to:
            environment[key] = f" {environment[key]}/ "
    product.write_plugstack(mode="required", config=product.write_config(*entries))
    command = f"{install_client(client) / 'python'} {PROGRAMS / program}"
    options = (f"--qpu={','.join(qpus)}", "--time=10")
    result = product.submit(command, *options, env=limits).wait(JOB_SECONDS)
    assert (result.state, result.exit_code) == ("COMPLETED", "0:0"), result.stderr
    return dict(json.loads(result.stdout))


@pytest.mark.parametrize(
    ("client", "qpu"),
    IBM_QPUS,
)
def test_bell_circuit_of_a_sampler(product: Product, client: str, qpu: str):
    printed = run_program(product, client, "ibm_sampler.py", qpu)

    assert printed["resource"] == qpu
    assert set(printed["bell"]) == {"00", "11"}
    assert sum(printed["bell"].values()) == SHOTS
    assert printed["rotation"] == {"10": SHOTS}


@pytest.mark.parametrize(
    ("client", "qpu"),
    IBM_QPUS,
)
def test_bell_circuit_of_an_estimator(product: Product, client: str, qpu: str):
    printed = run_program(product, client, "ibm_estimator.py", qpu)

    assert printed["resource"] == qpu
    assert printed["values"] == pytest.approx([1.0, 1.0, -0.5], abs=0.1)


IQM_RESULT = {
    "measurements": [{"m": [[0, 0]] * 3}],
    "measurement_counts": [{"counts": {"00": 3}, "measurement_keys": ["m"]}],
}


@pytest.mark.parametrize("client", ["0.18.0", "newest"])
def test_circuit_on_a_server_of_iqm(product: Product, client: str):
    printed = run_program(product, client, "fixed_result.py", "garnet_mock")

    assert printed["status"] == "TaskStatus.Completed"
    assert json.loads(printed["result"]) == IQM_RESULT


@pytest.mark.parametrize("client", ["0.18.0", "newest"])
def test_program_on_a_target_of_alice_and_bob(product: Product, client: str):
    printed = run_program(product, client, "fixed_result.py", "ab_emu_40q_physical_cats")

    assert printed == {"status": "TaskStatus.Completed", "result": "0,3\n"}


def test_status_of_the_newer_types_of_ibm(product: Product):
    printed = run_program(product, "newest", "status.py", "ibm_kingston", "ibm_marrakesh")

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
    printed = run_program(product, "newest", "failure.py", "anemone", *others)

    assert printed == {"error": "failed to load liboqtopus_py_bridge.so: dlopen failed"}
    assert "GET /oqtopus/devices/anemone" in product.site.asked()
