# SPDX-License-Identifier: GPL-3.0-or-later
"""`--qpu-hold=step`: the job holds nothing, each of its steps what it asks for."""

import pytest

from loopback.processes import children_of, command_line, end_processes
from loopback.waiting import wait_until
from tests.slurm.product import (
    SESSIONS,
    UNTIL_FINISHED,
    Product,
    finish,
    qpu_variables,
    readable_lines,
    token_in,
)

NAME = "ibm_sherbrooke"
HELD_BY_STEPS = (f"--qpu={NAME}", "--qpu-hold=step")
HOLD_VARIABLE = "SLURM_SPANK__SLURM_SPANK_OPTION_spank_qrmi_qpu_hold"
PRINT = """/bin/bash -c 'echo "$SLURM_JOB_QPU_RESOURCES"'"""


def test_script_has_no_qpu_and_each_step_its_own(product: Product):
    script = "env -0; srun env -0 >env-first; srun --export=NONE /usr/bin/env -0 >env-second"
    job = product.submit(script, *HELD_BY_STEPS)
    result = job.wait()

    assert (result.state, readable_lines(result.stderr)) == ("COMPLETED", [])
    variables = qpu_variables(result.stdout)
    lists = {name: text for name, text in variables.items() if "OPTION" not in name}
    assert set(lists.values()) == {""}
    assert len(lists) == 4
    tokens = [token_in((job.folder / name).read_text()) for name in ("env-first", "env-second")]
    assert tokens == [each["id"] for each in product.site.sessions()]
    assert product.sessions_served() == [NAME] * 2


def test_nothing_is_held_before_between_and_after_the_steps(product: Product):
    script = f"{UNTIL_FINISHED}; srun true; touch over; rm finished; {UNTIL_FINISHED}"
    job = product.submit(f"touch begun; {script}", *HELD_BY_STEPS)
    wait_until((job.folder / "begun").exists, 20, "start of the script")
    assert product.site.asked() == []
    finish(job)
    wait_until((job.folder / "over").exists, 20, "end of the step")
    product.wait_until_released()
    finish(job)

    assert job.wait().state == "COMPLETED"
    assert product.sessions_served() == [NAME]


def test_steps_that_name_qpus_have_these_or_fail_alone(product: Product):
    script = (
        f"srun --qpu=FRESNEL {PRINT}; srun --qpu=FRESNEL,{NAME} {PRINT}; "
        f"srun --qpu=ibm_paused echo started; echo $?; srun {PRINT}"
    )
    result = product.run_job(script, *HELD_BY_STEPS)

    assert result.state == "COMPLETED"
    assert result.stdout.split() == ["FRESNEL", f"FRESNEL,{NAME}", "1", NAME]
    assert "--qpu=ibm_paused: no QPU could be acquired; the step does not start" in (
        readable_lines(result.stderr)
    )
    assert product.sessions_served() == [NAME] * 2


def test_steps_at_once_hold_a_session_each_until_they_end_or_are_cancelled(product: Product):
    script = (
        "srun --overlap sleep 600 &\n"
        "srun --overlap bash -c 'until [ -e short ]; do sleep 0.1; done'\ntouch one-is-over; wait"
    )
    job = product.submit(script, *HELD_BY_STEPS)
    wait_until(lambda: len(product.site.open_sessions()) == 2, 20, "both sessions")
    assert len(product.journal()) == 2
    (job.folder / "short").touch()
    wait_until((job.folder / "one-is-over").exists, 20, "end of one step")
    wait_until(lambda: len(product.site.open_sessions()) == 1, 20, "end of its session")
    job.cancel()

    assert job.wait().state == "CANCELLED"
    assert product.sessions_served() == [NAME] * 2


def test_steps_within_a_step_share_what_it_holds(product: Product):
    inner = "env -0 >env-outer; srun --overlap env -0 >env-inner; srun --overlap --qpu=FRESNEL true"
    job = product.submit(f"srun bash -c '{inner}'", *HELD_BY_STEPS)
    result = job.wait()

    assert (result.state, readable_lines(result.stderr)) == ("COMPLETED", [])
    outer, within = (
        token_in((job.folder / name).read_text()) for name in ("env-outer", "env-inner")
    )
    assert outer == within
    assert product.sessions_served() == [NAME]


def test_cancelled_steps_release_and_the_next_one_acquires(product: Product):
    step = "srun bash -c 'touch here; exec sleep 600'"
    job = product.submit(f"{step}; srun sleep 600; srun {PRINT}", *HELD_BY_STEPS)
    wait_until((job.folder / "here").exists, 20, "start of the first step")
    assert len(product.site.open_sessions()) == 1
    product.site.order_fault("delay", f"{SESSIONS}$", delay_seconds=1, when="after", times=1)
    product.cluster.run("scancel", f"{job.id}.0")
    # The second one is cancelled while it acquires.
    wait_until(lambda: product.site.asked().count(f"POST {SESSIONS}") == 2, 20, "second request")
    product.cluster.run("scancel", f"{job.id}.1")

    assert job.wait().stdout.split() == [NAME]
    assert product.sessions_served() == [NAME] * 3


@pytest.mark.usefixtures("epilog_is_known")
def test_epilog_releases_what_a_killed_step_has_left(product: Product):
    job = product.submit("srun bash -c 'exec sleep 600'", *HELD_BY_STEPS)

    def with_tasks_of_srun() -> list[int]:
        pids = product.cluster.stepd_pids(job.id)
        return [
            pid for pid in pids if any("600" in command_line(each) for each in children_of(pid))
        ]

    with_tasks = wait_until(with_tasks_of_srun, 20, "start of the step")
    tasks = [child for pid in with_tasks for child in children_of(pid)]
    assert len(with_tasks) == 1
    end_processes(with_tasks)
    end_processes(tasks)
    assert product.journal() != []
    job.cancel()

    assert product.sessions_served() == [NAME]


def test_option_comes_through_whatever_is_exported(product: Product):
    script = f"{PRINT}; srun {PRINT}"
    exported = {HOLD_VARIABLE: "step"}
    of_job = f"--qpu={NAME}"
    jobs = {
        "NONE": product.submit(script, *HELD_BY_STEPS, "--export=NONE"),
        "HOME": product.submit(script, *HELD_BY_STEPS, "--export=HOME"),
        "script": product.submit(f"#!/bin/bash\n#SBATCH --qpu-hold=step\n{script}\n", of_job),
        "variable": product.submit(script, of_job, env=exported),
    }
    other = product.submit(script, of_job, "--qpu-hold=job", env=exported)
    for case, job in jobs.items():
        result = job.wait()
        assert (result.state, result.stdout.split("\n")) == ("COMPLETED", ["", NAME, ""]), case
    assert other.wait().stdout.split() == [NAME] * 2
    assert product.sessions_served() == [NAME] * 5


def test_job_submitted_by_a_job_leaves_qpus_to_its_steps(product: Product):
    """One of whose steps hold, and one that holds itself."""
    inner = [product.folder / name for name in ("by-steps", "by-job")]
    wrapped = f"{PRINT}; srun {PRINT}".replace("'", "'\\''")
    jobs = (
        product.submit(f"srun true; sbatch --output={inner[0]} --wrap='{wrapped}'", *HELD_BY_STEPS),
        product.submit(
            f"sbatch --qpu-hold=step --output={inner[1]} --wrap='{wrapped}'", f"--qpu={NAME}"
        ),
    )
    assert [job.wait().state for job in jobs] == ["COMPLETED"] * 2
    product.cluster.wait_for_empty_queue()

    assert [each.read_text().split("\n") for each in inner] == [["", NAME, ""]] * 2
    assert product.sessions_served() == [NAME] * 4


def test_shell_of_salloc_on_the_login_node(product: Product):
    script = f"srun {PRINT}; srun --qpu=FRESNEL {PRINT}"
    done = product.cluster.run("salloc", *HELD_BY_STEPS, "bash", "-c", script)

    assert done.stdout.split() == [NAME, "FRESNEL"]
    assert product.sessions_served() == [NAME]
