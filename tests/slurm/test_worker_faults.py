# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker that is killed costs the job, which says why in one line, and nothing else."""

import os
import signal

from loopback.job import JobResult
from loopback.processes import processes_naming
from tests.slurm.both_ways import both_ways, taking_turns
from tests.slurm.product import Product, readable_lines

TELL = "; tell the administrator: spank-qrmi check and slurmd's log say more"


def assert_refused(product: Product, result: JobResult, failure: str) -> None:
    """Assert that the job failed with one line, its node is well and no worker is left."""
    assert readable_lines(result.stderr) == [f"--qpu: the QPU worker on this node {failure}{TELL}"]
    assert (result.state, result.exit_code, result.stdout) == ("FAILED", "1:0", "")
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    assert product.cluster.stepd_pids() == set()
    assert processes_naming(str(product.folder)) == {}


@taking_turns("product", ("mode",), [("optional",), ("required",)])
def test_killed_while_a_service_hangs(product: Product, mode: str):
    product.write_plugstack(mode=mode)
    product.site.order_fault("hang", "/pasqal/")
    job = product.submit("echo started", "--qpu=FRESNEL")
    product.wait_for_request("/pasqal/")

    os.kill(product.wait_for_worker(job), signal.SIGKILL)

    assert_refused(product, job.wait(), "was ended by signal 9 before it had answered")


@both_ways
def test_killed_with_a_session_open(product: Product):
    product.site.order_fault("hang", "/pasqal/")
    job = product.submit("echo started", "--qpu=ibm_sherbrooke,FRESNEL")
    product.wait_for_request("/runtime/api/v1/sessions")
    product.wait_for_request("/pasqal/")
    product.wait_for_recorded_session()

    os.kill(product.wait_for_worker(job), signal.SIGKILL)

    assert_refused(product, job.wait(), "was ended by signal 9 before it had answered")
