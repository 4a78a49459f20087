# SPDX-License-Identifier: GPL-3.0-or-later
"""A failing acquisition fails the job, says why in its own output, and harms no node.

So does a worker that dies.
"""

import os
import signal

import pytest

from loopback.job import JobResult
from loopback.processes import end_processes, processes_naming
from tests.slurm.both_ways import taking_turns
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


def assert_refused(product: Product, result: JobResult, failure: str) -> None:
    """Assert that the job failed with one line, its node is well and no worker is left."""
    assert readable_lines(result.stderr) == [
        f"--qpu: the QPU worker on this node {failure}; tell the administrator: spank-qrmi check "
        "and slurmd's log say more"
    ]
    assert (result.state, result.exit_code, result.stdout) == ("FAILED", "1:0", "")
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    assert product.cluster.stepd_pids() == set()
    assert processes_naming(str(product.folder)) == {}


@taking_turns("product", ("mode",), [("optional",), ("required",)])
def test_killed_with_a_session_open(product: Product, mode: str):
    product.write_plugstack(mode=mode)
    product.site.order_fault("hang", "/pasqal/")
    job = product.submit("echo started", "--qpu=ibm_sherbrooke,FRESNEL")
    product.wait_for_request("/pasqal/")
    product.wait_for_recorded_session()

    os.kill(product.wait_for_worker(job), signal.SIGKILL)

    assert_refused(product, job.wait(), "was ended by signal 9 before it had answered")


def test_crash_that_leaves_a_child_behind(product: Product):
    """Of a program behind the link beside a copy of the plugin, in the place of the worker."""
    lingering, worker = (product.folder / name for name in ("lingering", "worker"))
    lingering.symlink_to("/bin/sleep")
    script = f"{lingering} 600 <&- >&- 2>&- &\necho 'Traceback: no module named x' >&2; exit 1\n"
    worker.write_text(f"#!/bin/sh\n{script}")
    worker.chmod(0o755)
    plugin = product.installation.copy_plugin(product.folder / "plugins", worker)
    product.write_plugstack("--acquire-timeout=1", "--release-timeout=1", plugin=plugin)

    job = product.submit("echo started", "--qpu=FRESNEL")

    try:
        assert_refused(product, job.wait(), "ended with status 1 before it had answered")
    finally:
        end_processes(processes_naming(str(lingering)))
    told = "] spank_qrmi_c: worker: Traceback: no module named x?"
    assert product.cluster.wait_for_log(told, job)
