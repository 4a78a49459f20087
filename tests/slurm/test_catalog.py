# SPDX-License-Identifier: GPL-3.0-or-later
"""The published catalog: what users see of it, and what Slurm's commands tell at submission."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from spank_qrmi.catalog.entries import Catalog, CatalogEntry
from spank_qrmi.catalog.files import publish
from spank_qrmi.status import QpuState, QpuStatus
from tests.slurm.product import Product

PRINT_RESOURCES = 'printf %s "$SLURM_JOB_QPU_RESOURCES"'
NOTHING = "--qpu: nothing is submitted: the job would have no QPU; "
AWAY = "warning: --qpu: FRESNEL is paused: maintenance, available again at noon"
MEANT = "no QPU is called ibm_torinp: is it ibm_torino?"


def entry(name: str, status: QpuStatus, **limits: tuple[int, ...]) -> CatalogEntry:
    now = int(time.time())
    return CatalogEntry(name, ("a-type",), status, now, now, f"qpu_{name}", **limits)


class Site:
    """A cluster whose plugstack.conf names a catalog: one QPU works, and one is away."""

    def __init__(self, product: Product, folder: Path) -> None:
        self.product = product
        self.folder = folder

    def publish(self, *more: CatalogEntry, seconds_left: int = 3600) -> None:
        now = int(time.time())
        away = QpuStatus(QpuState.PAUSED, "maintenance", available_at="noon")
        entries = (
            entry("ibm_torino", QpuStatus(QpuState.ONLINE)),
            entry("FRESNEL", away),
            *more,
        )
        publish(Catalog(now - 7200, now + seconds_left, entries), self.folder)

    def write_plugstack(self, *arguments: str, mode: str = "optional") -> None:
        self.product.write_plugstack(f"--catalog={self.folder}", *arguments, mode=mode)

    def run(self, *command: str, user: str | None = None) -> CompletedProcess[str]:
        return self.product.cluster.run(*command, user=user, check=False)

    def known_jobs(self) -> str:
        return self.run("squeue", "--noheader", "--states=all", "--format=%i").stdout


@pytest.fixture
def catalog(product: Product) -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="catalog-", dir=product.cluster.folder))
    folder.chmod(0o755)
    site = Site(product, folder)
    site.publish()
    site.write_plugstack()
    yield site
    shutil.rmtree(folder)


@pytest.mark.parametrize(("mode", "user"), [("optional", None), ("required", "nobody")])
def test_typo_is_refused_with_the_nearest_name(catalog: Site, mode: str, user: str | None):
    catalog.write_plugstack(mode=mode)
    before = catalog.known_jobs()
    for command, argument in (("sbatch", "--wrap=true"), ("srun", "true"), ("salloc", "true")):
        done = catalog.run(command, "--qpu=ibm_torinp", argument, user=user)

        assert (done.returncode, done.stdout) == (1, ""), command
        lines = done.stderr.splitlines()
        assert [MEANT in lines[0], NOTHING in lines[1], len(lines)] == [True, True, 2], command
    assert catalog.known_jobs() == before


def test_option_of_the_script_is_looked_at_too(catalog: Site):
    script = catalog.folder / "job.sh"
    script.write_text("#!/bin/sh\n#SBATCH --qpu=ibm_torinp\ntrue\n")
    done = catalog.run("sbatch", str(script))
    assert (done.returncode, MEANT in done.stderr) == (1, True)
    done = catalog.product.sbatch(
        "--qpu=ibm_torino", f"--output={catalog.folder}/output", str(script)
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_qpu_that_is_away_is_told_once_and_the_job_goes_on(catalog: Site):
    output = catalog.product.folder / "output"
    inner = f"srun bash -c '{PRINT_RESOURCES}'; srun --qpu=FRESNEL true"
    options = ("--qpu=FRESNEL", f"--output={output}")
    done = catalog.product.sbatch(*options, f"--wrap={inner}")

    assert [AWAY in line for line in done.stderr.splitlines()] == [True]
    printed = output.read_text()
    assert (printed.startswith("FRESNEL"), "--qpu" in printed) == (True, False)


def test_steps_of_an_allocation_are_told_only_of_other_qpus(catalog: Site):
    steps = (
        f"srun bash -c '{PRINT_RESOURCES}'; srun --qpu=FRESNEL true; "
        f"srun --qpu=ibm_torinp true; srun --qpu=ibm_torino bash -c '{PRINT_RESOURCES}'"
    )
    done = catalog.run("salloc", "--quiet", "--qpu=FRESNEL", "bash", "-c", steps)

    assert done.stdout == "FRESNELibm_torino"
    told = [line for line in done.stderr.splitlines() if "--qpu: " in line]
    assert [MEANT in told[0], NOTHING in told[1], len(told)] == [True, True, 2]


def test_step_is_told_only_of_what_its_job_does_not_hold(catalog: Site):
    output = catalog.product.folder / "output"
    script = (
        "srun --qpu=ibm_torinp,ibm_torino true; srun --qpu=ibm_torinp true; "
        f"srun --qpu=FRESNEL bash -c '{PRINT_RESOURCES}'"
    )
    options = ("--qpu=ibm_torino", f"--output={output}")
    catalog.product.sbatch(*options, f"--wrap={script}")

    printed = output.read_text()
    assert printed.count(MEANT) == 2
    assert [printed.count(text) for text in (NOTHING, AWAY)] == [1, 1]
    assert printed.endswith("FRESNEL")


def test_steps_that_hold_for_themselves_are_not_told_again(catalog: Site):
    output = catalog.product.folder / "output"
    options = ("--qpu=FRESNEL", "--qpu-hold=step", f"--output={output}")
    done = catalog.product.sbatch(*options, f"--wrap=srun bash -c '{PRINT_RESOURCES}'")

    assert [AWAY in line for line in done.stderr.splitlines()] == [True]
    assert output.read_text() == "FRESNEL"


@pytest.mark.parametrize("second", ["", "--qpu=FRESNEL"])
def test_heterogeneous_job_is_told_once(catalog: Site, second: str):
    script = catalog.folder / "het.sh"
    script.write_text(
        "#!/bin/sh\n#SBATCH --ntasks=1 --qpu=FRESNEL\n#SBATCH hetjob\n"
        f"#SBATCH --ntasks=1 {second}\nsrun --het-group=0,1 true\n"
    )
    output = catalog.product.folder / "output"
    done = catalog.product.sbatch(f"--output={output}", str(script))

    assert [AWAY in line for line in done.stderr.splitlines()] == [True]
    assert "--qpu" not in output.read_text()


def test_any_user_sees_the_catalog_of_plugstack_conf(catalog: Site):
    catalog.publish(entry("EMU_FREE", QpuStatus(QpuState.BUSY), gids=(1,)))
    command = str(catalog.product.installation.environment / "bin" / "spank-qrmi")
    statuses = {"ibm_torino": 0, "FRESNEL": 1, "ibm_torinp": 1}
    for name, status in statuses.items():
        assert catalog.run(command, "qpus", name, user="nobody").returncode == status
    done = catalog.run(command, "qpus", user="nobody")
    assert (done.returncode, done.stderr) == (0, "")
    shown = [line.split()[0:3:2] for line in done.stdout.splitlines()]
    assert shown == [
        *(["NAME", "STATE"], ["ibm_torino", "online"], ["FRESNEL", "paused"]),
        ["EMU_FREE", "busy"],
    ]
    assert done.stdout.splitlines()[3].endswith("not for you")
    catalog.product.write_plugstack()
    assert catalog.run(command, "qpus", user="nobody").returncode == 2
