# SPDX-License-Identifier: GPL-3.0-or-later
"""The option --qpu: what help says of it, how it is read, and which of several wins."""

from tests.slurm.product import PRINT_RESOURCES, Product

# Slurm's own rule: this prefix, the plugin's name, the option's; there is no SBATCH_ form of it.
INPUT_VARIABLE = "SLURM_SPANK__SLURM_SPANK_OPTION_spank_qrmi_qpu"
# In the words of the plugin's documentation.
HELP = """
Options provided by plugins:
      --qpu=names             Comma separated list of QPU resources to use.
      --qpu-hold=job|step     Hold QPUs for the job (default) or for each step.
"""


def test_commands_show_the_options_and_refuse_what_can_never_work(product: Product):
    for command, word in (("sbatch", "--wrap=true"), ("srun", "true"), ("salloc", "true")):
        assert HELP in product.cluster.run(command, "--help").stdout, command
        done = product.cluster.run(command, "--qpu=FRESNEL", "--qpu-hold=steps", word, check=False)
        assert done.returncode != 0, command
        assert "--qpu-hold must be job or step" in done.stderr, command


def test_last_of_several_ways_to_give_it_counts(product: Product):
    """The script, a variable, the command line, whatever is exported."""
    in_script = f"#!/bin/bash\n#SBATCH --qpu=ibm_torino,FRESNEL\n{PRINT_RESOURCES}\n"
    variable = {INPUT_VARIABLE: "FRESNEL"}
    cases = [
        (PRINT_RESOURCES, ("--qpu= ibm_torino ,, FRESNEL ,",), {}, "ibm_torino,FRESNEL"),
        (PRINT_RESOURCES, ("--qpu=FRESNEL", "--export=HOME"), {}, "FRESNEL"),
        (PRINT_RESOURCES, ("--qpu=FRESNEL", "--export=NONE"), {}, "FRESNEL"),
        (PRINT_RESOURCES, (), variable, "FRESNEL"),
        (in_script, (), {}, "ibm_torino,FRESNEL"),
        (in_script, ("--qpu=EMU_FREE",), {}, "EMU_FREE"),
        (in_script, (), variable, "FRESNEL"),
        (in_script, ("--qpu=EMU_FREE",), variable, "EMU_FREE"),
    ]
    jobs = [product.submit(script, *options, env=env) for script, options, env, _ in cases]
    for job, case in zip(jobs, cases, strict=True):
        result = job.wait()
        assert (result.stdout, result.stderr) == (case[-1], ""), case

    # The variable for other commands.
    for command in (("srun",), ("salloc", "srun")):
        words = (*command, "bash", "-c", PRINT_RESOURCES)
        assert product.cluster.run(*words, env=variable).stdout == "FRESNEL", command
