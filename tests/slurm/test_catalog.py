# SPDX-License-Identifier: GPL-3.0-or-later
"""What Slurm's commands tell at submission of the published catalog."""

import time

import pytest

from spank_qrmi.catalog.entries import Catalog, CatalogEntry
from spank_qrmi.catalog.files import publish
from spank_qrmi.status import QpuState, QpuStatus
from tests.slurm.product import PRINT_RESOURCES, Product

NOTHING = "--qpu: nothing is submitted: the job would have no QPU; "
AWAY = "warning: --qpu: FRESNEL is paused: maintenance, available again at noon"
MEANT = "no QPU is called ibm_torinp: is it ibm_torino?"


@pytest.fixture(autouse=True)
def catalog(product: Product) -> str:
    """The argument that names a catalog; one QPU works, and one is away."""
    now = int(time.time())
    away = QpuStatus(QpuState.PAUSED, "maintenance", available_at="noon")
    states = {"ibm_torino": QpuStatus(QpuState.ONLINE), "FRESNEL": away}
    entries = tuple(
        CatalogEntry(name, ("a-type",), status, now, now, f"qpu_{name}")
        for name, status in states.items()
    )
    publish(Catalog(now - 7200, now + 3600, entries), product.folder)
    argument = f"--catalog={product.folder}"
    product.write_plugstack(argument)
    return argument


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
    output = product.folder / "output"
    steps = (
        f"srun bash -c '{PRINT_RESOURCES}'; srun --qpu=FRESNEL true; "
        "srun --qpu=ibm_torinp,FRESNEL true; srun --qpu=ibm_torinp true"
    )
    options = ("--qpu=FRESNEL", f"--output={output}")
    done = product.sbatch(*options, f"--wrap={steps}")

    assert [AWAY in line for line in done.stderr.splitlines()] == [True]
    printed = output.read_text()
    assert printed.startswith("FRESNEL")
    assert [printed.count(text) for text in (MEANT, NOTHING, AWAY)] == [2, 1, 0]


def test_steps_of_an_allocation_are_told_only_of_other_qpus(product: Product):
    steps = (
        f"srun bash -c '{PRINT_RESOURCES}'; srun --qpu=FRESNEL true; "
        f"srun --qpu=ibm_torinp true; srun --qpu=ibm_torino bash -c '{PRINT_RESOURCES}'"
    )
    done = product.cluster.run(
        "salloc", "--quiet", "--qpu=FRESNEL", "bash", "-c", steps, check=False
    )

    assert done.stdout == "FRESNELibm_torino"
    told = [line for line in done.stderr.splitlines() if "--qpu: " in line]
    assert [MEANT in told[0], NOTHING in told[1], len(told)] == [True, True, 2]


def test_steps_that_hold_for_themselves_are_not_told_again(product: Product):
    output = product.folder / "output"
    options = ("--qpu=FRESNEL", "--qpu-hold=step", f"--output={output}")
    done = product.sbatch(*options, f"--wrap=srun bash -c '{PRINT_RESOURCES}'")

    assert [AWAY in line for line in done.stderr.splitlines()] == [True]
    assert output.read_text() == "FRESNEL"


@pytest.mark.parametrize("second", ["", "--qpu=FRESNEL"])
def test_heterogeneous_job_is_told_once(product: Product, second: str):
    script = product.folder / "het.sh"
    script.write_text(
        "#!/bin/sh\n#SBATCH --ntasks=1 --qpu=FRESNEL\n#SBATCH hetjob\n"
        f"#SBATCH --ntasks=1 {second}\nsrun --het-group=0,1 true\n"
    )
    output = product.folder / "output"
    done = product.sbatch(f"--output={output}", str(script))

    assert [AWAY in line for line in done.stderr.splitlines()] == [True]
    assert "--qpu" not in output.read_text()
