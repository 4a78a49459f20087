# SPDX-License-Identifier: GPL-3.0-or-later
"""A failing acquisition fails the job, says why in its own output, and harms no node."""

import pytest

from loopback.job import JobResult
from tests.slurm.product import Product, qpu_variables, readable_lines

NO_LISTS = {
    "QRMI_JOB_QPU_RESOURCES": "",
    "QRMI_JOB_QPU_TYPES": "",
    "SLURM_JOB_QPU_RESOURCES": "",
    "SLURM_JOB_QPU_TYPES": "",
}
PAUSED = "QPU ibm_paused: not accessible: the backend is paused: simulated"

in_both_modes = pytest.mark.parametrize("mode", ["optional", "required"])


def assert_refused(product: Product, result: JobResult, *lines: str) -> None:
    """Assert that the job failed before its script started, with these lines in its output."""
    assert readable_lines(result.stderr) == list(lines)
    assert (result.state, result.exit_code, result.stdout) == ("FAILED", "1:0", "")
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()


@in_both_modes
def test_qpus_that_are_not_accessible(product: Product, mode: str):
    product.write_plugstack(mode=mode)
    names = "ibm_paused,ibm_maintenance,FRESNEL_CAN1"

    job = product.submit("echo started", f"--qpu={names}")
    done = product.srun("--qpu=ibm_paused", "echo", "started", check=False)

    assert_refused(
        product,
        job.wait(),
        PAUSED,
        "QPU ibm_maintenance: not accessible: the backend is maintenance",
        "QPU FRESNEL_CAN1: not accessible: the device's availability is INACTIVE",
        f"--qpu={names}: no QPU could be acquired; the job does not start",
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert PAUSED in done.stderr


@in_both_modes
def test_job_that_goes_on_without(product: Product, mode: str):
    product.write_plugstack("--on-failure=continue", mode=mode)

    job = product.submit("env -0", "--qpu=ibm_paused", user="nobody")
    result = job.wait()

    assert (result.state, result.exit_code) == ("COMPLETED", "0:0")
    assert qpu_variables(result.stdout) == NO_LISTS | {
        "QRMI_JOB_ID": str(job.id),
        "QRMI_JOB_UID": "65534",
        "SLURM_QRMI_JOB_ID": str(job.id),
    }
    assert readable_lines(result.stderr) == [
        PAUSED,
        "--qpu=ibm_paused: no QPU could be acquired; the job goes on without",
    ]


def test_no_configuration_on_a_compute_node(product: Product):
    product.cluster.write_plugstack(f"required {product.installation.plugin}")

    assert_refused(
        product,
        product.run_job("echo started", "--qpu=FRESNEL"),
        "--qpu: the path of qrmi_config.json must be the first argument: "
        "correct the line of spank_qrmi.so in plugstack.conf; spank-qrmi check, as root on this "
        "node, says more",
    )


def test_all_are_required(product: Product):
    product.write_plugstack("--require=all", mode="required")

    result = product.run_job("echo started", "--qpu=ibm_sherbrooke,FRESNEL,ibm_paused")

    assert_refused(
        product,
        result,
        PAUSED,
        "--qpu=ibm_sherbrooke,FRESNEL,ibm_paused: not every QPU could be acquired; the job does "
        "not start",
    )
    assert product.sessions_served() == ["ibm_sherbrooke"]


def test_requeued_job_is_not_the_answer(product: Product):
    job = product.submit("echo started", "--qpu=ibm_paused", "--requeue")

    assert job.wait().state == "FAILED"
    assert job.details()["Restarts"] == "0"
