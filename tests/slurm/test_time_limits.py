# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that run into their time limits leave nothing, at any stage, ready or spawned workers."""

from dataclasses import replace

import pytest

from loopback.worker_server import WorkerServer
from tests.slurm import fault_matrix as matrix
from tests.slurm.both_ways import READY, SPAWNED
from tests.slurm.product import UNTIL_FINISHED, Product, finish, wait_for_script

pytestmark = pytest.mark.usefixtures("epilog_is_known")

LIMITS = ("--acquire-timeout=300", "--release-timeout=150")
matrix.CELLS_RUN.update((matrix.TIME_LIMIT, stage) for stage in matrix.STAGES)


def test_time_limit_at_each_stage(product: Product, ready_workers: WorkerServer):
    """One job for each stage and way, all at once: Slurm looks every half minute who is late."""
    site = product.site
    products = {SPAWNED: product, READY: replace(product, server=ready_workers)}
    jobs = {}
    for way, one in products.items():
        one.write_plugstack(*LIMITS)
        jobs[way, matrix.JOB] = matrix.submit(one, "echo here; exec sleep 600")
        wait_for_script(jobs[way, matrix.JOB])
        others = set(site.open_sessions())
        releasing = matrix.submit(one, f"echo here; {UNTIL_FINISHED}")
        jobs[way, matrix.RELEASE] = releasing
        wait_for_script(releasing)
        held = set(site.open_sessions()) - others
        for session in held:
            site.order_fault("hang", f"/{session}")
        finish(releasing)
        matrix.wait_until_told_to_end(one, held)
    matrix.hang_all_questions(product)
    for way, one in products.items():
        one.write_plugstack(*LIMITS)
        jobs[way, matrix.ACQUIRE] = matrix.submit(one)
        matrix.wait_for_sessions(one, len(jobs))

    for job in jobs.values():
        # A moment that is over when slurmctld reads of it is refused.
        product.cluster.run("scontrol", "update", f"JobId={job.id}", "EndTime=now+2")
    for job in jobs.values():
        matrix.wait_until_over(job)
    # No release has been given up then.
    site.clear_faults()

    ended = {of: (job.wait().state, "started" in job.stdout) for of, job in jobs.items()}
    assert ended == dict.fromkeys(jobs, ("TIMEOUT", False))
    matrix.assert_nothing_left(products[READY])
