# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way to submit a job with QPUs: each job acquires once, sees its own, releases once."""

import pytest

from loopback.errors import SubmitError
from loopback.waiting import wait_until
from tests.slurm.product import (
    PRINT_RESOURCES,
    UNTIL_FINISHED,
    Product,
    finish,
    qpu_variables,
    readable_lines,
    token_in,
)

NAME = "ibm_sherbrooke"
INPUT_VARIABLE = "SLURM_SPANK__SLURM_SPANK_OPTION_spank_qrmi_qpu"
HET_SCRIPT = """#!/bin/bash
#SBATCH --ntasks=1 {first}
#SBATCH hetjob
#SBATCH --ntasks=1 {second}
srun --het-group=0,1 bash -c 'echo $SLURM_JOB_QPU_RESOURCES'
srun --het-group=1 bash -c 'echo $SLURM_JOB_QPU_RESOURCES'
"""


@pytest.mark.parametrize("hold", ["job", "step"])
def test_each_task_of_an_array_is_a_job_of_its_own(product: Product, hold: str):
    options = ("--array=1-3", "--output=env-%a", f"--qpu={NAME}", f"--qpu-hold={hold}")
    job = product.submit("env -0; srun env -0", *options)
    product.cluster.wait_for_empty_queue()

    printed = [(job.folder / f"env-{index}").read_text() for index in (1, 2, 3)]
    assert len({qpu_variables(text)["QRMI_JOB_ID"] for text in printed}) == 3
    assert {token_in(text) for text in printed} == {each["id"] for each in product.site.sessions()}
    assert product.sessions_served() == [NAME] * 3


def test_jobs_of_one_user_on_one_node(product: Product):
    script = f"env -0; echo here; {UNTIL_FINISHED}"
    jobs = [
        product.submit(script, f"--qpu={NAME}", "--nodelist=n1", user="nobody") for _ in range(3)
    ]
    for job in jobs:
        wait_until(lambda job=job: "here" in job.stdout, 20, "start of the script")  # type: ignore[misc]
    tokens = [token_in(job.stdout) for job in jobs]
    assert sorted(product.site.open_sessions()) == sorted(tokens)

    for ended, job in enumerate(jobs, start=1):
        finish(job)
        assert job.wait().state == "COMPLETED"
        wait_until(
            lambda ended=ended: sorted(product.site.open_sessions()) == sorted(tokens[ended:]),  # type: ignore[misc]
            10,
            "end of this job's session alone",
        )
    assert product.sessions_served() == [NAME] * 3


def test_job_submitted_by_a_job_acquires_for_itself(product: Product):
    """By the option that it inherits or has itself, by its step alone, and by salloc."""
    ways = (
        "sbatch --output={inner} --wrap='env -0' >&2",
        "sbatch --output={inner} {qpu} --wrap='env -0' >&2",
        "unset {variable}; sbatch --output={inner} --wrap='srun {qpu} env -0' >&2",
        "salloc --ntasks=1 srun env -0 >{inner}",
    )
    names = {"qpu": f"--qpu={NAME}", "variable": INPUT_VARIABLE}
    inner = [product.folder / f"env-{number}" for number in range(len(ways))]
    jobs = [
        product.submit(f"env -0; {way.format(inner=path, **names)}; echo over >&2", names["qpu"])
        for way, path in zip(ways, inner, strict=True)
    ]
    results = [job.wait() for job in jobs]
    product.cluster.wait_for_empty_queue()

    assert [each.state for each in results] == ["COMPLETED"] * 4
    texts = [*(each.stdout for each in results), *(path.read_text() for path in inner)]
    assert sorted(map(token_in, texts)) == sorted(each["id"] for each in product.site.sessions())
    assert product.sessions_served() == [NAME] * 8


@pytest.mark.parametrize(("hold", "sessions"), [("job", 1), ("step", 3)])
def test_heterogeneous_job_asks_by_its_first_component_for_all(
    product: Product, hold: str, sessions: int
):
    first = f"--qpu={NAME} --qpu-hold={hold}"
    jobs = {
        second: product.submit(HET_SCRIPT.format(first=first, second=second))
        for second in ("", first)
    }
    for second, job in jobs.items():
        result = job.wait()
        assert (result.state, readable_lines(result.stderr)) == ("COMPLETED", []), second
        assert result.stdout.split() == [NAME] * 3, second
    assert product.sessions_served() == [NAME] * sessions * 2


def test_step_in_a_later_component_acquires_what_the_first_does_not_hold(product: Product):
    script = HET_SCRIPT.format(first=f"--qpu={NAME}", second="").replace(
        "srun --het-group=1", "srun --het-group=1 --qpu=ibm_brisbane,ibm_sherbrooke"
    )
    result = product.run_job(script)

    assert (result.state, result.stderr) == ("COMPLETED", "")
    assert result.stdout.split() == [NAME, NAME, f"{NAME},ibm_brisbane"]
    assert product.sessions_served() == [NAME, "ibm_brisbane"]


def test_component_that_asks_for_something_else_is_refused(product: Product):
    qpu = f"--qpu={NAME}"
    for first, second in (
        ("", "--qpu=FRESNEL"),
        (qpu, "--qpu=FRESNEL"),
        (qpu, "--qpu-hold=step"),
        (f"{qpu} --qpu-hold=job", "--qpu-hold=step"),
    ):
        option = second.partition("=")[0]
        told = f"{option} is for all components of a heterogeneous job: give it to the first"
        with pytest.raises(SubmitError, match=told):
            product.submit(HET_SCRIPT.format(first=first, second=second))
    done = product.srun("true", ":", qpu, "true", check=False)
    assert done.returncode != 0
    assert "heterogeneous job: give it to the first" in done.stderr
    assert product.site.asked() == []


def test_each_component_of_a_plain_srun_acquires(product: Product):
    command = ("--ntasks=1", "bash", "-c", PRINT_RESOURCES)
    done = product.srun(f"--qpu={NAME}", *command, ":", *command)

    assert done.stdout == NAME * 2
    assert product.sessions_served() == [NAME] * 2
