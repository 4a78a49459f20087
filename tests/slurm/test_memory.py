# SPDX-License-Identifier: GPL-3.0-or-later
"""slurmstepd under valgrind for whole jobs: no error and no lost memory in which we have a part."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.cluster import SlurmCluster
from tests.slurm.product import Product, readable_lines

JOB_SECONDS = 120
# Slurm's allocator puts a header before each block, so all that it still holds would count as
# "possibly lost"; what nothing points to any more is "definitely lost" all the same.
WRAPPER = """#!/bin/sh
exec {valgrind} --leak-check=full --show-leak-kinds=definite,indirect --num-callers=40 \\
    --keep-debuginfo=yes --log-file={logs}/%p {slurmstepd} "$@"
"""


@pytest.fixture(scope="module")
def cluster_of_module(cluster_folder_of_module: Path) -> Iterator[SlurmCluster]:
    """A cluster whose slurmstepds run under valgrind."""
    folder = cluster_folder_of_module
    (folder / "valgrind").mkdir()
    stepd = Path(str(shutil.which("slurmstepd")))
    words = {"valgrind": shutil.which("valgrind"), "slurmstepd": shutil.copy(stepd, folder)}
    wrapper = folder / "wrapper"
    wrapper.write_text(WRAPPER.format(logs=folder / "valgrind", **words))
    wrapper.chmod(0o755)
    # The path of slurmstepd is compiled into slurmd.
    with SlurmCluster(folder / "cluster", nodes=1, mounts={wrapper: stepd}) as cluster:
        yield cluster


def complaints(logs: Path) -> list[str]:
    """Return what valgrind says of memory with one of our functions on the stack."""
    text = "\n".join(path.read_text(errors="replace") for path in sorted(logs.iterdir()))
    blocks = re.split(r"(?m)^==\d+== *$", text)
    return [block for block in blocks if "spank_qrmi.so" in block]


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_memory_of_slurmstepd(product: Product):
    logs = product.cluster.folder.parent / "valgrind"
    # Only at its start slurmd looks whether a plugin has an epilog.
    product.cluster.restart_slurmd("n1")
    jobs = [
        product.submit(script, *options)
        for script, *options in (
            # The step has a QPU of the job's, and acquires one besides.
            ("srun --qpu=FRESNEL,ibm_marrakesh true", "--qpu=ibm_sherbrooke,FRESNEL,ibm_torino"),
            ("srun true", "--qpu=ibm_sherbrooke", "--qpu-hold=step"),
            ("echo started", "--qpu=ibm_paused"),
        )
    ]
    *good, refused = [job.wait(JOB_SECONDS) for job in jobs]

    assert [(each.state, readable_lines(each.stderr)) for each in good] == [("COMPLETED", [])] * 2
    assert refused.state == "FAILED"
    product.cluster.wait_for_empty_queue(JOB_SECONDS)
    product.wait_until_released()
    texts = [path.read_text(errors="replace") for path in logs.iterdir()]
    # Three batch steps, two steps of srun, three epilogs.
    assert sum("ERROR SUMMARY" in text for text in texts) >= 8
    backends = [each["backend_name"] for each in product.site.sessions()]
    assert sorted(backends) == ["ibm_marrakesh", "ibm_sherbrooke", "ibm_sherbrooke"]
    assert complaints(logs) == []
