# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs with the public client, in sbatch jobs: acquired, run, results, released."""

import json
from pathlib import Path
from typing import Any

import pytest

from loopback.clients import install_client
from tests.slurm.product import Product

PROGRAMS = Path(__file__).parent / "programs"
JOB_SECONDS = 600

SHOTS = 1000


def run_program(product: Product, client: str, program: str, qpu: str) -> dict[str, Any]:
    """Run a program in a job; return the JSON that it prints."""
    entry = product.entry(qpu)
    for key, value in entry["environment"].items():
        # The plugin repairs both for itself; a client would ask for /v1//backends, and fail.
        if key.endswith(("DA_ENDPOINT", "QRS_ENDPOINT", "IAM_ENDPOINT")):
            entry["environment"][key] = f" {value}/ "
    product.write_plugstack(mode="required", config=product.write_config(entry))
    command = f"{install_client(client) / 'python'} {PROGRAMS / program}"
    # A session may live shorter than the job; the service refuses what could outlast it.
    env = {f"{qpu}_QRMI_IBM_QRS_SESSION_MAX_TTL": "500"}
    result = product.submit(command, f"--qpu={qpu}", "--time=10", env=env).wait(JOB_SECONDS)
    assert (result.state, result.exit_code) == ("COMPLETED", "0:0"), result.stderr
    return dict(json.loads(result.stdout))


@pytest.mark.parametrize(
    ("client", "qpu"),
    [("0.18.0", "ibm_torino"), ("0.18.0", "ibm_sherbrooke"), ("newest", "ibm_sherbrooke")],
)
def test_bell_circuit_of_a_sampler(product: Product, client: str, qpu: str):
    printed = run_program(product, client, "ibm_sampler.py", qpu)

    assert printed["resource"] == qpu
    assert set(printed["bell"]) == {"00", "11"}
    assert sum(printed["bell"].values()) == SHOTS
    assert printed["rotation"] == {"10": SHOTS}


@pytest.mark.parametrize(
    ("client", "qpu"),
    [("0.18.0", "ibm_torino"), ("0.18.0", "ibm_sherbrooke"), ("newest", "ibm_sherbrooke")],
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
