# SPDX-License-Identifier: GPL-3.0-or-later
"""What Slurm's commands tell at submission of the published catalog."""

import pytest

from tests.slurm.product import PRINT_RESOURCES, Product

NAME = "ibm_sherbrooke"
NOTHING = "--qpu: nothing is submitted: the job would have no QPU; "
AWAY = f"warning: --qpu: {NAME} is paused: the backend is maintenance"
MEANT = "no QPU is called ibm_torinp: is it ibm_torino?"
PRINT = f"srun bash -c '{PRINT_RESOURCES}'"
HET_SCRIPT = """#!/bin/sh
#SBATCH --ntasks=1 --qpu=ibm_sherbrooke
#SBATCH hetjob
#SBATCH --ntasks=1 {second}
srun --het-group=0,1 true
"""


@pytest.fixture(autouse=True)
def catalog(product: Product) -> str:
    """The argument that names a catalog; one QPU is away."""
    argument = product.publish_catalog(NAME)
    product.write_plugstack(argument)
    return argument


def told_by(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if "--qpu" in line]


def known_jobs(product: Product) -> str:
    return product.cluster.run("squeue", "--noheader", "--states=all", "--format=%i").stdout


@pytest.mark.parametrize(("mode", "user"), [("optional", None), ("required", "nobody")])
def test_typo_is_refused_with_the_nearest_name(
    product: Product, catalog: str, mode: str, user: str | None
):
    product.write_plugstack(catalog, mode=mode)
    before = known_jobs(product)
    script = product.folder / "job.sh"
    script.write_text("#!/bin/sh\n#SBATCH --qpu=ibm_torinp\ntrue\n")
    typo = "--qpu=ibm_torinp"
    for command in (
        ("sbatch", typo, "--wrap=true"),
        ("sbatch", str(script)),
        ("srun", typo, "true"),
        ("salloc", typo, "true"),
    ):
        done = product.cluster.run(*command, user=user, check=False)

        assert (done.returncode, done.stdout) == (1, ""), command
        lines = done.stderr.splitlines()
        assert [MEANT in lines[0], NOTHING in lines[1], len(lines)] == [True, True, 2], command
    assert known_jobs(product) == before


def test_job_is_told_once_and_its_steps_of_what_it_does_not_hold(product: Product):
    qpu = f"--qpu={NAME}"
    steps = f"{PRINT}; srun {qpu} true; srun {qpu},ibm_torinp true; srun --qpu=ibm_torinp true"
    for script, options, printed, expected in (
        (steps, (qpu,), NAME, (MEANT, MEANT, NOTHING)),
        (PRINT, (qpu, "--qpu-hold=step"), NAME, ()),
        (HET_SCRIPT.format(second=""), (), "", ()),
        (HET_SCRIPT.format(second=qpu), (), "", ()),
    ):
        job = product.submit(script, *options)
        result = job.wait()

        assert [AWAY in line for line in told_by(job.submit_stderr)] == [True], options
        assert result.stdout == printed, options
        told = zip(expected, told_by(result.stderr), strict=True)
        assert [text for text, line in told if text not in line] == [], result.stderr


def test_steps_of_an_allocation_are_told_only_of_other_qpus(product: Product):
    of_another = f"srun --qpu=ibm_torino bash -c '{PRINT_RESOURCES}'"
    steps = f"{PRINT}; srun --qpu={NAME} true; srun --qpu=ibm_torinp true; {of_another}"
    command = ("salloc", "--quiet", f"--qpu={NAME}", "bash", "-c", steps)
    done = product.cluster.run(*command, check=False)

    assert done.stdout == f"{NAME}ibm_torino"
    told = told_by(done.stderr)
    assert [MEANT in told[0], NOTHING in told[1], len(told)] == [True, True, 2]
