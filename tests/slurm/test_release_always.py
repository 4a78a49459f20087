# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever dies, nothing that was acquired stays acquired: exit hook, epilog, command."""

import json

import pytest

from loopback.waiting import wait_until
from tests.slurm.product import Product

QPU = "--qpu=ibm_sherbrooke"
ON_N1 = "--nodelist=n1"


pytestmark = pytest.mark.usefixtures("epilog_is_known")


def assert_released(product: Product) -> None:
    product.wait_until_released()
    product.cluster.wait_for_empty_queue()
    product.cluster.assert_nodes_healthy()
    assert product.cluster.stepd_pids() == set()
    assert len(product.site.sessions()) == 1


def status(product: Product) -> list[dict[str, object]]:
    done = product.spank_qrmi("status", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return list(json.loads(done.stdout)["entries"])


def test_stepd_killed_during_the_job_and_slurmd_restarted(product: Product):
    job = product.start_job(QPU, ON_N1, "--no-requeue")
    product.kill_stepd(job)
    # Earlier, slurmctld believes that the batch step is still on its way: BatchStartTimeout and
    # MessageTimeout, 10 s each.
    wait_until(lambda: job.details()["RunTime"] > "00:00:21", 40, "job older than 21 s")

    product.cluster.restart_slurmd("n1")

    assert_released(product)


def test_what_runs_is_shown_and_left_alone(product: Product):
    job = product.start_job(QPU, ON_N1, "--no-requeue")

    [entry] = status(product)
    expected = {"job_id": job.id, "step": "batch", "uid": 0, "resource": "ibm_sherbrooke"}
    expected |= {"type": "qiskit-runtime-service", "state": "held", "is_orphaned": False}
    assert expected.items() <= entry.items()
    [_, row] = product.spank_qrmi("status").stdout.splitlines()
    assert row.startswith(f"{job.id} ")
    assert row.endswith(" held")
    assert product.spank_qrmi("release", "--orphaned").stdout == ""
    assert len(product.site.open_sessions()) == 1

    job.cancel()
    assert_released(product)
    # Whether the service did what it has agreed to is asked later.
    [entry] = status(product)
    assert (entry["job_id"], entry["state"]) == (job.id, "told to end")
    assert product.spank_qrmi("release", "--orphaned").stdout.endswith(": released\n")
    nothing = ("nothing is held on this node\n", [])
    assert (product.spank_qrmi("status").stdout, status(product)) == nothing
