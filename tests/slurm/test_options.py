# SPDX-License-Identifier: GPL-3.0-or-later
"""The option --qpu: how it is read, who acquires for it, and which of several wins."""

import pytest

from loopback.errors import SubmitError
from tests.slurm.product import Product, readable_lines

PRINT_RESOURCES = 'printf %s "$SLURM_JOB_QPU_RESOURCES"'


@pytest.mark.parametrize("value", ["", ",", " , ,"])
def test_list_without_a_name_is_refused_at_submission(product: Product, value: str):
    with pytest.raises(SubmitError, match="--qpu names no QPU: give a comma separated list"):
        product.submit("true", f"--qpu={value}")


def test_control_character_is_refused_at_submission(product: Product):
    with pytest.raises(SubmitError, match="--qpu holds a control character"):
        product.submit("true", "--qpu=one\ntwo")


def test_spaces_are_trimmed(product: Product):
    result = product.run_job(PRINT_RESOURCES, "--qpu= ibm_torino ,, FRESNEL ,")

    assert (result.stdout, result.stderr) == ("ibm_torino,FRESNEL", "")


def test_name_given_twice_counts_once(product: Product):
    result = product.run_job(PRINT_RESOURCES, "--qpu=ibm_sherbrooke,FRESNEL,ibm_sherbrooke")

    assert result.stdout == "ibm_sherbrooke,FRESNEL"
    assert len(product.site.sessions()) == 1


def test_option_in_the_script(product: Product):
    result = product.run_job(f"#!/bin/bash\n#SBATCH --qpu=ibm_torino,FRESNEL\n{PRINT_RESOURCES}\n")

    assert (result.stdout, result.stderr) == ("ibm_torino,FRESNEL", "")


def test_command_line_beats_the_script(product: Product):
    script = f"#!/bin/bash\n#SBATCH --qpu=ibm_sherbrooke\n{PRINT_RESOURCES}\n"

    assert product.run_job(script, "--qpu=FRESNEL").stdout == "FRESNEL"
    assert product.site.sessions() == []


@pytest.mark.parametrize("export", ["NONE", "HOME"])
def test_submission_that_exports_little(product: Product, export: str):
    result = product.run_job(PRINT_RESOURCES, "--qpu=FRESNEL", f"--export={export}")

    assert result.stdout == "FRESNEL"


def test_plain_srun_acquires_and_releases(product: Product):
    done = product.srun("--qpu=ibm_sherbrooke", "bash", "-c", PRINT_RESOURCES)

    assert (done.stdout, done.stderr) == ("ibm_sherbrooke", "")
    product.wait_until_released()
    assert [each["closed_how"] for each in product.site.sessions()] == ["drained"]


def test_plain_srun_on_two_nodes_acquires_once(product: Product):
    product.srun("--nodes=2", "--qpu=ibm_sherbrooke", "true")

    assert len(product.site.sessions()) == 1


def test_srun_within_salloc_acquires(product: Product):
    done = product.cluster.run("salloc", "--qpu=FRESNEL", "srun", "bash", "-c", PRINT_RESOURCES)

    assert done.stdout == "FRESNEL"


def test_srun_within_a_script_does_not_acquire_again(product: Product):
    script = (
        f"srun bash -c '{PRINT_RESOURCES}'; srun --qpu=ibm_brisbane bash -c '{PRINT_RESOURCES}'"
    )
    result = product.run_job(script, "--qpu=ibm_sherbrooke")

    assert (result.stdout, result.stderr) == ("ibm_sherbrooke" * 2, "")
    assert [each["backend_name"] for each in product.site.sessions()] == ["ibm_sherbrooke"]


def test_many_tasks_share_what_was_acquired(product: Product):
    done = product.srun("--ntasks=4", "--nodes=1", "--qpu=FRESNEL", "bash", "-c", PRINT_RESOURCES)

    assert done.stdout == "FRESNEL" * 4
    assert product.site.asked() == ["GET /pasqal/core-fast/api/v1/devices"]


def test_step_of_a_batch_job_without_qpus_is_told_where_to_ask(product: Product):
    result = product.run_job("srun --qpu=FRESNEL echo started")

    reason = "--qpu: a batch job acquires its QPUs at its start: give --qpu to sbatch"
    assert (result.state, result.stdout) == ("FAILED", "")
    assert reason in readable_lines(result.stderr)
    assert product.site.asked() == []


def test_steps_of_a_script_that_exports_little_do_not_acquire_again(product: Product):
    result = product.run_job(
        "srun /bin/sh -c 'echo $SLURM_JOB_QPU_RESOURCES'", "--qpu=FRESNEL", "--export=NONE"
    )

    assert (result.stdout, result.stderr) == ("FRESNEL\n", "")
    assert product.site.asked() == ["GET /pasqal/core-fast/api/v1/devices"]
