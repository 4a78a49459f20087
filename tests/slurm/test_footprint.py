# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plugin costs: no Python in Slurm's own processes, nothing at all without --qpu."""

import re
from collections import Counter
from pathlib import Path

from loopback.installation import Installation
from loopback.processes import PROC, children_of, command_line
from loopback.waiting import wait_until
from tests.slurm.product import PRINT_RESOURCES, Product, qpu_variables

# Of what slurmstepd holds for itself, more than for another job.
MOST_KILOBYTES_OF_A_QPU_JOB = 100


def written_kilobytes(pid: int) -> int:
    """Return how much of its memory a process has written and shares with no other."""
    rollup = (PROC / str(pid) / "smaps_rollup").read_text()
    return int(re.search(r"(?m)^Private_Dirty: +(\d+) kB", rollup)[1])


def libraries_of(pid: int) -> set[str]:
    """Return the names of the files that a process has mapped."""
    lines = (PROC / str(pid) / "maps").read_text().splitlines()
    return {Path(line.split()[-1]).name for line in lines if "/" in line}


def assert_thin(installation: Installation, libraries: set[str]) -> None:
    """Assert that a slurmstepd has mapped no Python, and of ours the plugin alone."""
    assert [name for name in libraries if "spank" in name] == [installation.plugin.name]
    assert [name for name in libraries if "python" in name.lower()] == []


def state_of(pid: int) -> tuple[list[str], str]:
    """Return a process's masks, handlers, users, capabilities and limits."""
    kept = ("SigBlk", "SigIgn", "SigCgt", "Umask", "Uid", "Gid", "Groups", "CapEff", "NoNewPrivs")
    status = (PROC / str(pid) / "status").read_text().splitlines()
    limits = (PROC / str(pid) / "limits").read_text()
    return [line for line in status if line.startswith(kept)], limits


def kinds_of_descriptors(pid: int) -> Counter[str]:
    kinds = [str(link.readlink()).partition(":")[0] for link in (PROC / str(pid) / "fd").iterdir()]
    return Counter(kind for kind in kinds if not kind.startswith("/"))


def test_slurmstepd_of_a_running_job_has_no_more_than_without_qpus(product: Product):
    """No Python, as much open, and what setting the job's variables has taken is given back.

    Nor is it, or the script, another process than without in what a hook could have changed.
    """
    options: tuple[tuple[str, ...], ...] = ((), ("--qpu=ibm_sherbrooke,FRESNEL",))
    jobs = [product.start_job("--nodelist=n1", *each) for each in options]
    stepds = [pid for job in jobs for pid in product.cluster.stepd_pids(job.id)]
    for stepd in stepds:
        wait_until(
            lambda stepd=stepd: [list(command_line(pid)) for pid in children_of(stepd)],  # type: ignore[misc]
            10,
            "the script alone, without a worker",
            accept=[["sleep", "600"]].__eq__,
        )
        assert_thin(product.installation, libraries_of(stepd))
    of_plain, of_qpus = map(kinds_of_descriptors, stepds)
    states = [[state_of(pid) for pid in (stepd, *children_of(stepd))] for stepd in stepds]
    plain, with_qpus = map(written_kilobytes, stepds)
    for job in jobs:
        job.cancel()

    assert of_qpus == of_plain
    assert states[1] == states[0]
    assert with_qpus - plain <= MOST_KILOBYTES_OF_A_QPU_JOB


def test_python_runs_in_the_installations_own_worker_alone(product: Product):
    product.site.order_fault("delay", "/pasqal/", delay_seconds=1, times=1)
    job = product.submit("true", "--qpu=FRESNEL")
    worker = product.wait_for_worker(job)
    command = command_line(worker)
    environment = (PROC / str(worker) / "environ").read_text().rstrip("\0").split("\0")
    user = (PROC / str(worker) / "status").stat().st_uid

    python = product.installation.environment / "bin" / "python"
    assert command == [str(python), "-I", "-m", "spank_qrmi.worker"]
    assert environment == ["PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"]
    assert user == 0
    assert any("python" in name for name in libraries_of(worker))
    [stepd] = product.cluster.stepd_pids(job.id)
    assert_thin(product.installation, libraries_of(stepd))
    assert job.wait().state == "COMPLETED"
    mapped = libraries_of(product.cluster.daemon_pid("slurmd-n1"))
    assert [name for name in mapped if "python" in name.lower()] == []


def test_only_a_job_with_the_option_starts_a_worker(product: Product):
    """One when it acquires, and one when it releases what a service holds."""
    interpreter = product.installation.interpreter_link.readlink()
    mark, worker = (product.folder / name for name in ("mark", "worker"))
    worker.write_text(f'#!/bin/sh\necho started >>{mark}\nexec {interpreter} "$@"\n')
    worker.chmod(0o755)
    plugin = product.installation.copy_plugin(product.folder / "plugins", worker)
    product.write_plugstack(plugin=plugin)

    product.srun("true")
    result = product.run_job("env -0; srun env -0")
    assert (qpu_variables(result.stdout), "RUST_LOG=" in result.stdout) == ({}, False)
    product.cluster.wait_for_empty_queue()
    wait_until(product.cluster.stepd_pids, 10, "end of steps", accept=lambda pids: not pids)
    assert (mark.exists(), product.site.requests()) == (False, [])

    assert product.run_job("srun true", "--qpu=ibm_sherbrooke,FRESNEL").state == "COMPLETED"
    product.wait_until_released()
    assert mark.read_text().splitlines() == ["started"] * 2


def test_job_submitted_where_the_line_has_no_argument(product: Product):
    product.cluster.write_plugstack(f"optional {product.installation.plugin}")
    assert product.srun("echo", "ran").stdout == "ran\n"
    job = product.submit(PRINT_RESOURCES, "--qpu=FRESNEL", "--hold")

    # The compute nodes' line; a cluster on one machine has one file for both.
    product.write_plugstack()
    product.cluster.run("scontrol", "release", str(job.id))

    assert job.wait().stdout == "FRESNEL"
