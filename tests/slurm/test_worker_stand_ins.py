# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that slurmstepd starts in the place of its worker: whatever they do, a job says why.

They are behind the link beside a copy of the plugin. A worker server has no such workers: it serves
no environment but its own.
"""

import textwrap
from pathlib import Path

import pytest

from loopback.processes import end_processes, processes_naming
from tests.slurm.product import Product, qpu_variables, readable_lines
from tests.slurm.test_worker_faults import TELL, assert_refused


def use_worker(product: Product, script: str, *arguments: str, mode: str = "optional") -> Path:
    """Let the plugin's worker be a shell script; return its path."""
    worker = product.folder / "worker"
    worker.write_text(f"#!/bin/sh\n{textwrap.dedent(script)}\n")
    worker.chmod(0o755)
    plugin = product.installation.copy_plugin(product.folder / "plugins", worker)
    timeouts = ("--acquire-timeout=1", "--release-timeout=1")
    product.write_plugstack(*timeouts, *arguments, plugin=plugin, mode=mode)
    return worker


@pytest.mark.parametrize("mode", ["optional", "required"])
def test_crash(product: Product, mode: str):
    use_worker(product, "echo 'Traceback: no module named x' >&2; exit 1", mode=mode)

    job = product.submit("echo started", "--qpu=FRESNEL")

    assert_refused(product, job.wait(), "ended with status 1 before it had answered")
    assert product.cluster.wait_for_log(
        "] spank_qrmi_c: worker: Traceback: no module named x?", job
    )


def test_crash_of_a_job_that_goes_on_without(product: Product):
    use_worker(product, "exit 1", "--on-failure=continue")

    job = product.submit("env -0", "--qpu=FRESNEL")
    result = job.wait()

    assert result.state == "COMPLETED"
    assert qpu_variables(result.stdout) == {
        "QRMI_JOB_QPU_RESOURCES": "",
        "QRMI_JOB_QPU_TYPES": "",
        "SLURM_JOB_QPU_RESOURCES": "",
        "SLURM_JOB_QPU_TYPES": "",
        "SLURM_QRMI_JOB_ID": str(job.id),
    }
    assert readable_lines(result.stderr) == [
        f"--qpu: the QPU worker on this node ended with status 1 before it had answered{TELL}"
    ]


def test_nonsense_without_end(product: Product):
    use_worker(product, "exec yes")

    result = product.run_job("echo started", "--qpu=FRESNEL")

    assert_refused(product, result, "gave an answer that cannot be read")


def test_child_left_behind_by_the_worker(product: Product):
    lingering = product.folder / "lingering"
    lingering.symlink_to("/bin/sleep")
    use_worker(product, f"{lingering} 600 <&- >&- 2>&- & exit 1")

    result = product.run_job("echo started", "--qpu=FRESNEL")

    try:
        assert_refused(product, result, "ended with status 1 before it had answered")
    finally:
        end_processes(processes_naming(str(lingering)))


def test_step_of_srun(product: Product):
    use_worker(product, "exit 1")

    done = product.srun("--qpu=FRESNEL", "echo", "started", check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert "the QPU worker on this node ended with status 1 before it had answered" in done.stderr
