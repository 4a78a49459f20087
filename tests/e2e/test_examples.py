# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples, submitted as they stand by a user with the public client in his PATH.

The demonstration runs the one with QPUs of two vendors.
"""

import os
import re
import shutil
from pathlib import Path

import pytest

from loopback.clients import REQUIREMENTS, install_client
from loopback.installation import REPOSITORY
from tests.slurm.product import Plugin, Product
from tests.slurm.qrun_product import QrunProduct

SHOTS = 1000


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    return shutil.copytree(REPOSITORY / "examples", tmp_path / "examples")


def run_example(product: Plugin, programs: Path, script: Path, state: str = "COMPLETED") -> str:
    """Submit a script in its folder and wait until its jobs are in the state that they must reach.

    Returns what they printed, one after the other.
    """
    path = f"{programs}:{os.environ['PATH']}"
    submission = ("sbatch", "--parsable", f"--chdir={script.parent}", str(script))
    job_id = product.cluster.run(*submission, env={"PATH": path}).stdout.strip()
    product.cluster.wait_for_empty_queue(600)
    output = "".join(path.read_text() for path in sorted(script.parent.glob("slurm-*.out")))
    shown = product.cluster.run("scontrol", "show", "--oneliner", "job", job_id).stdout
    assert set(re.findall(r"JobState=(\S+)", shown)) == {state}, output
    return output


def counts(output: str) -> list[dict[str, int]]:
    """Return the counts of each histogram in a job's output."""
    histograms = re.split(r"^(?=\S)", output, flags=re.MULTILINE)
    found = [dict(re.findall(r"^  ([01]+) +(\d+)", each, re.MULTILINE)) for each in histograms]
    return [{state: int(count) for state, count in each.items()} for each in found if each]


def assert_bell_pair(output: str) -> None:
    [bell] = counts(output)
    assert (set(bell), sum(bell.values())) == ({"00", "11"}, SHOTS)


@pytest.mark.parametrize("client", REQUIREMENTS)
def test_sampler_job(product: Product, client: str, examples: Path):
    output = run_example(product, install_client(client), examples / "sampler.sh")

    assert "ibm_sherbrooke: Bell pair" in output
    assert_bell_pair(output)


def test_estimator_job(product: Product, examples: Path):
    output = run_example(product, install_client("newest"), examples / "estimator.sh")

    values = {name: float(value) for name, value in re.findall(r"<(\w+)> = (\S+)", output)}
    assert values == pytest.approx({"ZZ": 1.0, "XX": 1.0, "YY": -1.0, "ZI": 0.0}, abs=0.2)


def test_array_job(product: Product, examples: Path):
    output = run_example(product, install_client("newest"), examples / "array.sh")

    assert counts(output) == [
        {"0": SHOTS},
        {"0": pytest.approx(SHOTS / 2, abs=SHOTS / 10), "1": pytest.approx(SHOTS / 2, abs=100)},
        {"1": SHOTS},
    ]
    assert len(product.site.sessions()) == 3


def test_pasqal_job(product: Product, examples: Path):
    output = run_example(product, install_client("newest"), examples / "pasqal.sh")

    [pair] = counts(output)
    assert pair["01"] + pair["10"] > 0.9 * sum(pair.values())


def test_qrun_job(qrun_product: QrunProduct, examples: Path):
    programs = qrun_product.installation.command_directory
    output = run_example(qrun_product, programs, examples / "qrun.sh")

    assert_bell_pair(output)
    assert (examples / "bell_result.json").exists()


def test_qrun_job_that_brings_no_result_fails(qrun_product: QrunProduct, examples: Path):
    (examples / "bell.json").write_text("{}")
    (examples / "bell_result.json").write_text("of an earlier job")
    programs = qrun_product.installation.command_directory
    output = run_example(qrun_product, programs, examples / "qrun.sh", state="FAILED")

    assert "bell.json must have version 2" in output
    assert "Traceback" not in output
