# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed command qrun in jobs of an ordinary user: its results, and nothing that is left."""

import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loopback.job import Job
from loopback.processes import processes_naming
from loopback.waiting import wait_until
from spank_qrmi_simulator.site import API_KEY, SERVICE_CRN
from tests.simulator_client import FLIP, sampler_input
from tests.slurm.both_ways import qrun_both_ways
from tests.slurm.bucket import Bucket
from tests.slurm.qrun_product import OPTIONS, START_SECONDS, QrunProduct

USER = "nobody"


@dataclass(frozen=True)
class User:
    """What an ordinary user does with qrun; files lie in the test's folder."""

    product: QrunProduct
    bucket: Bucket

    def write_input(self) -> Path:
        path = self.product.folder / "input.json"
        path.write_text(json.dumps(sampler_input(FLIP)))
        return path

    def submit(self, script: str, *options: str) -> Job:
        """Submit a script in which `qrun` is found as users find it."""
        folder = self.product.installation.command_directory
        return self.product.submit(f"PATH={folder}:$PATH\n{script}", *options, user=USER)

    def wait_for_jobs(self, count: int = 1) -> list[str]:
        """Wait until the service has so many quantum jobs; return their ids."""
        return wait_until(
            self.product.site.quantum_jobs,
            START_SECONDS,
            f"{count} quantum jobs",
            accept=lambda ids: len(ids) == count,
        )

    def assert_nothing_is_left(self) -> None:
        self.product.wait_until_removed()
        assert self.bucket.keys() == []


@pytest.fixture
def user(qrun_product: QrunProduct) -> Iterator[User]:
    bucket = Bucket(*qrun_product.site.qrun_arguments()[3:])
    qrun_product.folder.chmod(0o777)
    yield User(qrun_product, bucket)
    bucket.clear()


def samples(text: str) -> list[str]:
    result: dict[str, Any] = json.loads(text)
    found = result["results"][0]["data"]["meas"]["samples"]
    return list(found)


def test_command_is_reachable_for_users(user: User):
    qrun = user.product.installation.command_directory / "qrun"
    assert user.product.cluster.run(str(qrun), "--version", user=USER).stdout


def test_results_of_a_batch_job(user: User):
    """In the script, and in a step after it."""
    results = [user.product.folder / f"result-{number}.json" for number in (1, 2)]
    script = " && ".join(
        f"{start}qrun -r {result} {user.write_input()}"
        for start, result in zip(("", "srun "), results, strict=True)
    )
    job = user.submit(script)
    result = job.wait()

    assert (result.state, result.stdout) == ("COMPLETED", "")
    assert [samples(each.read_text()) for each in results] == [["0x1"] * 100] * 2
    user.assert_nothing_is_left()
    assert [line for line in user.product.our_lines(job) if "was left on the" in line] == []


def test_result_by_plain_srun_with_iam(user: User):
    user.product.write_plugstack(
        f"--iam-apikey={API_KEY}",
        f"--service-crn={SERVICE_CRN}",
        f"--iam-endpoint={user.product.site.url}/iam",
    )
    qrun = str(user.product.installation.command_directory / "qrun")
    command = ("srun", *OPTIONS, qrun, "--quiet", str(user.write_input()))
    done = user.product.cluster.run(*command, user=USER)

    assert samples(done.stdout) == ["0x1"] * 100
    assert "POST /direct-access/v1/token" not in user.product.site.asked()
    user.assert_nothing_is_left()


def test_two_tasks_of_one_step(user: User):
    result_files = f"{user.product.folder}/result-$SLURM_PROCID.json"
    script = f"srun /bin/sh -c 'exec qrun -r {result_files} {user.write_input()}'"
    result = user.submit(script, "--ntasks=2").wait()

    assert result.state == "COMPLETED"
    for task in (0, 1):
        path = user.product.folder / f"result-{task}.json"
        assert samples(path.read_text()) == ["0x1"] * 100
    user.assert_nothing_is_left()


def test_job_that_cannot_run_fails(user: User):
    user.product.folder.joinpath("input.json").write_text("{}")
    result = user.submit(f"srun qrun {user.product.folder}/input.json").wait()

    assert (result.state, result.exit_code) == ("FAILED", "4:0")
    user.assert_nothing_is_left()


def test_scancel_in_mid_run(user: User):
    user.product.hold_jobs()
    command = f"qrun {user.write_input()}"
    starts = ("{}", "exec {}", "srun {}", "srun /bin/sh -c '{};:' ignored")
    jobs = {start: user.submit(start.format(command)) for start in starts}
    user.wait_for_jobs(len(jobs))
    for job in jobs.values():
        job.cancel()

    for start, job in jobs.items():
        assert job.wait().state == "CANCELLED", start
    user.assert_nothing_is_left()


@qrun_both_ways
def test_killed_in_mid_run(user: User):
    user.product.hold_jobs()
    command = f"qrun {user.write_input()}"
    folder = user.product.installation.command_directory
    starts = ("{}", "srun {}", f"srun /bin/sh -c '\"$@\"; exit $?' - {folder}/{{}}")
    jobs = {start: user.submit(start.format(command)) for start in starts}
    ids = user.wait_for_jobs(len(jobs))
    kill_qruns(user.product, len(jobs))

    left = re.compile(r"quantum job (\S+) was left on the service")
    found = set()
    for start, job in jobs.items():
        assert job.wait().state == "FAILED", start
        found.update(left.findall(user.product.cluster.wait_for_log(left, job)))
    assert found == set(ids)
    user.product.wait_until_removed()
    # These alone stay, as the documentation says.
    assert user.bucket.keys() == sorted(
        f"{kind}_{job_id}.json" for kind in ("input", "logs") for job_id in ids
    )


def kill_qruns(product: QrunProduct, count: int) -> None:
    """End the qruns that run, whatever started them."""
    input_file = str(product.folder / "input.json")
    pids = [
        pid
        for pid, line in processes_naming(input_file).items()
        if line[-1] == input_file and "python" in line[0]
    ]
    assert len(pids) == count
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
