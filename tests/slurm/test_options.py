# SPDX-License-Identifier: GPL-3.0-or-later
"""The option --qpu: how it is read, and which of several wins."""

import pytest

from loopback.errors import SubmitError
from tests.slurm.product import Product

PRINT_RESOURCES = 'printf %s "$SLURM_JOB_QPU_RESOURCES"'
# Slurm's own rule: this prefix, the plugin's name, the option's; there is no SBATCH_ form of it.
INPUT_VARIABLE = "SLURM_SPANK__SLURM_SPANK_OPTION_spank_qrmi_qpu"


@pytest.mark.parametrize("command", ["sbatch", "srun", "salloc"])
def test_hold_that_is_none_is_refused_at_submission(product: Product, command: str):
    words = ("--wrap=true",) if command == "sbatch" else ("true",)
    done = product.cluster.run(command, "--qpu=FRESNEL", "--qpu-hold=steps", *words, check=False)

    assert done.returncode != 0
    assert "--qpu-hold must be job or step" in done.stderr


def test_hold_without_a_qpu_is_warned_about(product: Product):
    job = product.submit("true", "--qpu-hold=step")

    assert "warning: --qpu-hold has no effect without --qpu" in job.submit_stderr
    assert job.wait().state == "COMPLETED"


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


def test_exported_variable_of_slurm(product: Product):
    result = product.run_job(PRINT_RESOURCES, env={INPUT_VARIABLE: "FRESNEL"})

    assert result.stdout == "FRESNEL"


def test_command_line_beats_the_exported_variable_and_that_the_script(product: Product):
    script = f"#!/bin/bash\n#SBATCH --qpu=ibm_torino\n{PRINT_RESOURCES}\n"
    exported = {INPUT_VARIABLE: "FRESNEL"}

    assert product.run_job(script, env=exported).stdout == "FRESNEL"
    assert product.run_job(script, "--qpu=EMU_FREE", env=exported).stdout == "EMU_FREE"


@pytest.mark.parametrize("command", [("srun",), ("salloc", "srun")])
def test_exported_variable_for_other_commands(product: Product, command: tuple[str, ...]):
    done = product.cluster.run(
        *command, "bash", "-c", PRINT_RESOURCES, env={INPUT_VARIABLE: "FRESNEL"}
    )

    assert done.stdout == "FRESNEL"
