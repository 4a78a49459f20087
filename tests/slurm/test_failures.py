# SPDX-License-Identifier: GPL-3.0-or-later
"""A failing acquisition fails the job, says why in its own output, and harms no node."""

import pytest

from tests.slurm.product import Product, qpu_variables, readable_lines

PAUSED = "QPU ibm_paused: not accessible: the backend is paused: simulated"

in_both_modes = pytest.mark.parametrize("mode", ["optional", "required"])


@in_both_modes
def test_qpus_that_are_not_accessible(product: Product, mode: str):
    product.write_plugstack(mode=mode)
    names = "ibm_paused,ibm_maintenance,FRESNEL_CAN1"

    job = product.submit("echo started", f"--qpu={names}", "--requeue")
    done = product.srun("--qpu=ibm_paused", "echo", "started", check=False)

    result = job.wait()
    assert (result.state, result.exit_code, result.stdout) == ("FAILED", "1:0", "")
    assert readable_lines(result.stderr) == [
        PAUSED,
        "QPU ibm_maintenance: not accessible: the backend is maintenance",
        "QPU FRESNEL_CAN1: not accessible: the device's availability is INACTIVE",
        f"--qpu={names}: no QPU could be acquired; the job does not start",
    ]
    assert job.details()["Restarts"] == "0"
    assert (done.returncode, done.stdout) == (1, "")
    assert PAUSED in done.stderr


@in_both_modes
def test_job_that_goes_on_without(product: Product, mode: str):
    product.write_plugstack("--on-failure=continue", mode=mode)

    job = product.submit("env -0", "--qpu=ibm_paused", user="nobody")
    result = job.wait()

    assert (result.state, result.exit_code) == ("COMPLETED", "0:0")
    assert qpu_variables(result.stdout) == {
        "QRMI_JOB_ID": str(job.id),
        "QRMI_JOB_QPU_RESOURCES": "",
        "QRMI_JOB_QPU_TYPES": "",
        "QRMI_JOB_UID": "65534",
        "SLURM_JOB_QPU_RESOURCES": "",
        "SLURM_JOB_QPU_TYPES": "",
        "SLURM_QRMI_JOB_ID": str(job.id),
    }
    assert readable_lines(result.stderr) == [
        PAUSED,
        "--qpu=ibm_paused: no QPU could be acquired; the job goes on without",
    ]
