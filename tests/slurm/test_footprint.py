# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plugin costs: no Python in Slurm's own processes, nothing at all without --qpu."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from loopback.job import Job
from loopback.processes import PROC, children_of, command_line
from loopback.waiting import wait_until
from tests.slurm.product import Product

# What a job asks for, and how often a worker may be started for it: to acquire, and to release
# what a service holds.
# One at the start, one at the end.
MOST_WORKERS = {(): 0, ("--qpu=FRESNEL",): 2, ("--qpu=ibm_sherbrooke,FRESNEL",): 2}


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


def assert_thin(product: Product, job: Job) -> None:
    """Assert that the job's slurmstepd has mapped no Python, and of ours the plugin alone."""
    [stepd] = product.cluster.stepd_pids(job.id)
    libraries = libraries_of(stepd)
    assert [name for name in libraries if "spank" in name] == [product.installation.plugin.name]
    assert [name for name in libraries if "python" in name.lower()] == []


@pytest.mark.parametrize("options", [(), ("--qpu=ibm_sherbrooke,FRESNEL",)])
def test_slurmstepd_of_a_running_job_has_no_python(product: Product, options: tuple[str, ...]):
    job = product.submit("echo here; sleep 60", *options)
    wait_until(lambda: job.stdout, 20, "start of the script")

    assert_thin(product, job)
    job.cancel()
    job.wait()


def witness(name: str, folder: Path) -> str:
    """Return the plugstack line of a plugin that writes slurmstepd's state to `*-name` files."""
    library = folder / f"{name}.so"
    options = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-DWITNESS={name}")
    source = Path(__file__).with_name("witness.c")
    subprocess.run(["gcc", *options, str(source), "-o", str(library)], check=True)
    return f"required {library} {folder}"


def written_by(name: str, folder: Path) -> dict[str, str]:
    """Return what a witness has written, by hook and process."""
    files = folder.glob(f"*-*-{name}")
    return {path.name.removesuffix(f"-{name}"): path.read_text() for path in files}


def test_slurmstepd_is_left_as_it_was(product: Product):
    """Handlers, masks, users, limits, folder, locale and environment, around each of our hooks."""
    product.folder.chmod(0o755)
    ours = product.cluster.plugstack()
    lines = [witness("before", product.folder), ours, witness("after", product.folder)]
    product.cluster.write_plugstack(*lines)
    product.run_job("true", "--qpu=ibm_sherbrooke,FRESNEL")
    product.wait_until_released()

    before, after = (written_by(name, product.folder) for name in ("before", "after"))
    hooks = sorted(name.partition("-")[0] for name in before)
    assert hooks == ["exit", "init", "init_post_opt", "task_exit", "task_init"]
    assert all("environ SLURM" in text for text in before.values())
    assert set(after) == set(before)
    changes = {hook: changed_lines(before[hook], after[hook]) for hook in before}
    assert {hook: lines for hook, lines in changes.items() if lines} == {}


def changed_lines(before: str, after: str) -> set[str]:
    """Return what differs, but for handlers that another thread of Slurm's has set meanwhile."""
    new = set(after.splitlines()) - set(before.splitlines())
    slurms = {line for line in new if re.fullmatch(r"signal .* of \S*/libslurm\S*", line)}
    numbers = {line.split()[1] for line in slurms}
    gone = set(before.splitlines()) - set(after.splitlines())
    replaced = {line for line in gone if line.startswith("signal ") and line.split()[1] in numbers}
    return (new - slurms) | (gone - replaced)


def test_handlers_of_slurm_alone_may_change():
    before = "umask 022\nsignal 1 (nil) 0 of none\nsignal 2 (nil) 0 of none"
    slurms = "umask 022\nsignal 1 0x1 0 of /usr/lib/libslurmfull.so\nsignal 2 (nil) 0 of none"
    ours = "umask 022\nsignal 1 (nil) 0 of none\nsignal 2 0x1 0 of /usr/lib/slurm/spank_qrmi.so"
    assert changed_lines(before, slurms) == set()
    assert len(changed_lines(before, ours)) == 2


def kinds_of_descriptors(pid: int) -> Counter[str]:
    kinds = [str(link.readlink()).partition(":")[0] for link in (PROC / str(pid) / "fd").iterdir()]
    return Counter(kind for kind in kinds if not kind.startswith("/"))


def test_slurmstepd_has_as_much_open_as_before(product: Product):
    counts = []
    for options in ((), ("--qpu=ibm_sherbrooke,FRESNEL",)):
        job = product.submit("echo here; sleep 60", "--nodelist=n1", *options)
        wait_until(lambda job=job: job.stdout, 20, "start of the script")
        [stepd] = product.cluster.stepd_pids(job.id)
        counts.append(kinds_of_descriptors(stepd))
        job.cancel()
        job.wait()

    assert counts[0] == counts[1]


def test_slurmstepd_that_acquires_has_no_python(product: Product):
    product.site.order_fault("delay", "/pasqal/", delay_seconds=1, times=1)
    job = product.submit("true", "--qpu=FRESNEL")
    worker = product.wait_for_worker(job)

    assert_thin(product, job)
    assert any("python" in name for name in libraries_of(worker))
    assert job.wait().state == "COMPLETED"


def test_slurmd_has_no_python(product: Product):
    product.run_job("true", "--qpu=FRESNEL")

    mapped = libraries_of(product.cluster.daemon_pid("slurmd-n1"))

    assert [name for name in mapped if "python" in name.lower()] == []


def test_slurmstepd_of_a_qpu_job_keeps_no_memory(product: Product):
    """What setting the job's variables has taken is given back before the script runs."""
    kilobytes = []
    for options in ((), ("--qpu=ibm_sherbrooke,FRESNEL",)):
        job = product.submit("echo here; sleep 60", *options)
        wait_until(lambda job=job: job.stdout, 20, "start of the script")
        [stepd] = product.cluster.stepd_pids(job.id)
        kilobytes.append(written_kilobytes(stepd))
        job.cancel()
        job.wait()

    assert kilobytes[1] - kilobytes[0] <= MOST_KILOBYTES_OF_A_QPU_JOB


def test_worker_is_gone_while_the_script_runs(product: Product):
    job = product.submit("echo here; exec sleep 60", "--qpu=FRESNEL")
    wait_until(lambda: job.stdout, 20, "start of the script")

    [stepd] = product.cluster.stepd_pids(job.id)
    wait_until(
        lambda: [list(command_line(pid)) for pid in children_of(stepd)],
        10,
        "the script alone",
        accept=[["sleep", "60"]].__eq__,
    )
    job.cancel()
    job.wait()


def mark_of_workers(product: Product, then: str) -> Path:
    """Let each worker leave a line in the file that is returned, and `then` do what it says."""
    mark = product.folder / "mark"
    worker = product.folder / "worker"
    worker.write_text(f"#!/bin/sh\necho started >>{mark}\n{then}\n")
    worker.chmod(0o755)
    plugin = product.installation.copy_plugin(product.folder / "plugins", worker)
    product.write_plugstack(plugin=plugin)
    return mark


@pytest.mark.parametrize("in_batch", [True, False])
def test_only_a_job_with_the_option_starts_a_worker(product: Product, in_batch: bool):
    mark = mark_of_workers(product, "exit 1")

    def run(*options: str) -> None:
        if in_batch:
            product.run_job("srun true", *options)
        else:
            product.srun(*options, "true", check=False)
            product.cluster.wait_for_empty_queue()
            wait_until(product.cluster.stepd_pids, 10, "end of steps", accept=lambda pids: not pids)

    run()
    assert not mark.exists()
    run("--qpu=FRESNEL")
    assert mark.exists()


@pytest.mark.parametrize("options", MOST_WORKERS)
def test_number_of_workers_of_a_job(product: Product, options: tuple[str, ...]):
    interpreter = product.installation.interpreter_link.readlink()
    mark = mark_of_workers(product, f'exec {interpreter} "$@"')

    assert product.run_job("srun true", *options).state == "COMPLETED"

    product.wait_until_released()
    started = mark.read_text().splitlines() if mark.exists() else []
    assert len(started) <= MOST_WORKERS[options]


def test_login_node_needs_no_argument(product: Product):
    product.cluster.write_plugstack(f"optional {product.installation.plugin}")

    assert product.run_job("true").state == "COMPLETED"
    assert product.srun("echo", "ran").stdout == "ran\n"


def test_job_submitted_where_the_line_has_no_argument(product: Product):
    product.cluster.write_plugstack(f"optional {product.installation.plugin}")
    job = product.submit('printf %s "$SLURM_JOB_QPU_RESOURCES"', "--qpu=FRESNEL", "--hold")

    # The compute nodes' line; a cluster on one machine has one file for both.
    product.write_plugstack()
    product.cluster.run("scontrol", "release", str(job.id))

    assert job.wait().stdout == "FRESNEL"
