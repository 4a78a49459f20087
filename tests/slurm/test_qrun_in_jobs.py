# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed command qrun in jobs of an ordinary user: its results, and nothing that is left."""

import json
import os
import re
import signal
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from loopback.job import Job
from loopback.processes import processes_naming
from loopback.waiting import wait_until
from spank_qrmi.clients import qrun_variables as names
from spank_qrmi_simulator.site import API_KEY, SERVICE_CRN
from tests.simulator_client import FLIP, sampler_input
from tests.slurm.both_ways import qrun_both_ways
from tests.slurm.product import START_SECONDS
from tests.slurm.qrun_product import BACKEND, OPTIONS, QrunProduct

USER = "nobody"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore.*")


class User(QrunProduct):
    """What an ordinary user does with qrun; files lie in the test's folder."""

    @cached_property
    def bucket(self) -> tuple[Any, str]:
        """The bucket of the simulated site: a client for it, and its name."""
        key_id, key, endpoint, name, region = self.site.qrun_arguments()[3:]
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=key_id,
            aws_secret_access_key=key,
            config=Config(s3={"addressing_style": "path"}, proxies={"http": None}),
        )
        return client, name

    def objects(self) -> list[str]:
        """Return the names of all objects in the bucket."""
        client, name = self.bucket
        return [one["Key"] for one in client.list_objects_v2(Bucket=name).get("Contents", [])]

    def write_input(self) -> Path:
        path = self.folder / "input.json"
        path.write_text(json.dumps(sampler_input(FLIP)))
        return path

    def submit(self, script: str, *options: str, **more: Any) -> Job:
        """Submit a script in which `qrun` is found as users find it."""
        folder = self.installation.command_directory
        return super().submit(f"PATH={folder}:$PATH\n{script}", *options, user=USER, **more)

    def wait_for_jobs(self, count: int = 1) -> list[str]:
        """Wait until the service has so many quantum jobs; return their ids."""
        return wait_until(
            self.site.quantum_jobs,
            START_SECONDS,
            f"{count} quantum jobs",
            accept=lambda ids: len(ids) == count,
        )

    def assert_nothing_is_left(self) -> None:
        self.wait_until_released()
        assert self.objects() == []


@pytest.fixture
def user(qrun_product: QrunProduct) -> Iterator[User]:
    qrun_product.folder.chmod(0o777)
    user = User(**vars(qrun_product))
    yield user
    client, name = user.bucket
    for key in user.objects():
        client.delete_object(Bucket=name, Key=key)


def samples(text: str) -> list[str]:
    result: dict[str, Any] = json.loads(text)
    found = result["results"][0]["data"]["meas"]["samples"]
    return list(found)


def test_results_of_a_batch_job(user: User):
    """In the script, and in a step after it."""
    results = [user.folder / f"result-{number}.json" for number in (1, 2)]
    script = " && ".join(
        f"{start}qrun -r {result} {user.write_input()}"
        for start, result in zip(("", "srun "), results, strict=True)
    )
    job = user.submit(script)
    result = job.wait()

    assert (result.state, result.stdout) == ("COMPLETED", "")
    assert [samples(each.read_text()) for each in results] == [["0x1"] * 100] * 2
    user.assert_nothing_is_left()
    assert [line for line in user.our_lines(job) if "was left on the" in line] == []


def test_result_by_plain_srun_with_iam(user: User):
    user.write_plugstack(
        f"--iam-apikey={API_KEY}",
        f"--service-crn={SERVICE_CRN}",
        f"--iam-endpoint={user.site.url}/iam",
    )
    qrun = str(user.installation.command_directory / "qrun")
    command = ("srun", *OPTIONS, qrun, "--quiet", str(user.write_input()))
    done = user.cluster.run(*command, user=USER)

    assert samples(done.stdout) == ["0x1"] * 100
    assert "POST /direct-access/v1/token" not in user.site.asked()
    user.assert_nothing_is_left()


def test_scancel_in_mid_run(user: User):
    user.hold_jobs()
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
    user.hold_jobs()
    command = f"qrun {user.write_input()}"
    folder = user.installation.command_directory
    starts = ("{}", "srun {}", f"srun /bin/sh -c '\"$@\"; exit $?' - {folder}/{{}}")
    jobs = {start: user.submit(start.format(command)) for start in starts}
    ids = user.wait_for_jobs(len(jobs))
    input_file = str(user.folder / "input.json")
    qruns = [
        pid
        for pid, line in processes_naming(input_file).items()
        if line[-1] == input_file and "python" in line[0]
    ]
    assert len(qruns) == len(jobs)
    for pid in qruns:
        os.kill(pid, signal.SIGKILL)

    left = re.compile(r"quantum job (\S+) was left on the service")
    found = set()
    for start, job in jobs.items():
        assert job.wait().state == "FAILED", start
        found.update(left.findall(user.cluster.wait_for_log(left, job)))
    assert found == set(ids)
    user.wait_until_released()
    # These alone stay, as the documentation says.
    assert user.objects() == sorted(
        f"{kind}_{job_id}.json" for kind in ("input", "logs") for job_id in ids
    )


@pytest.fixture
def alone(user: User) -> User:
    """A user where no plugin cleans up after qrun, which must do so itself."""
    user.cluster.write_plugstack()
    return user


def submit_alone(user: User, script: str, *options: str, with_iam: bool = False) -> Job:
    """Submit a script beside the input in `input.json`, with all that a plugin would set."""
    variables = user.values | {
        names.BACKEND: BACKEND,
        names.PRIMITIVE: "sampler",
        names.TIMEOUT_SECONDS: "600",
    }
    if with_iam:
        for name in names.APP_ID_VARIABLES:
            del variables[name]
        login = (API_KEY, SERVICE_CRN, f"{user.site.url}/iam")
        variables |= dict(zip(names.IAM_VARIABLES, login, strict=True))
    folder = user.installation.command_directory
    lines = f"PATH={folder}:$PATH\ncp {user.write_input()} input.json\n{script}"
    return user.cluster.submit(lines, *options, env=variables)


def test_two_tasks_and_two_runs_without_a_plugin(alone: User) -> None:
    script = (
        "srun --ntasks=2 bash -c 'qrun -r $SLURM_PROCID.json input.json'\n"
        "qrun -r 2.json input.json && qrun input.json > 3.json"
    )
    jobs = [
        submit_alone(alone, script, "--ntasks=2", with_iam=with_iam) for with_iam in (False, True)
    ]
    for job in jobs:
        result = job.wait(120)
        assert (result.state, result.exit_code) == ("COMPLETED", "0:0"), result.stderr
        for number in range(4):
            assert samples((job.folder / f"{number}.json").read_text()) == ["0x1"] * 100
    alone.assert_nothing_is_left()


def test_slurm_is_told_that_the_quantum_job_failed(alone: User) -> None:
    result = submit_alone(alone, "sed -i s/x/h/ input.json; srun qrun input.json").wait()
    assert (result.state, result.exit_code, result.stdout) == ("FAILED", "7:0", "")
    assert "qrun: job " in result.stderr
    alone.assert_nothing_is_left()


def test_signals_of_slurm_cancel_the_quantum_job_without_a_plugin(alone: User) -> None:
    """By scancel, and as Slurm sends one ahead of the limit."""
    alone.hold_jobs()
    starts = ("srun qrun", "exec qrun")
    cancelled = {start: submit_alone(alone, f"{start} input.json") for start in starts}
    warned = submit_alone(alone, "srun qrun input.json")
    alone.wait_for_jobs(3)
    for job in cancelled.values():
        job.cancel()
    alone.cluster.run("scancel", "--signal=INT", f"{warned.id}.0")
    for start, job in cancelled.items():
        result = job.wait()
        assert result.state == "CANCELLED", start
        assert "qrun: stopped by SIGTERM\n" in result.stderr, start
        assert "may still be" not in result.stderr, start
    result = warned.wait()
    assert result.state == "FAILED"
    assert "qrun: stopped by SIGINT\n" in result.stderr
    alone.assert_nothing_is_left()


def test_suspended_job_goes_on(alone: User) -> None:
    alone.hold_jobs()
    job = submit_alone(alone, "srun qrun input.json > result.json")
    alone.wait_for_jobs(1)
    alone.cluster.run("scontrol", "suspend", str(job.id))
    job.wait_for_state("SUSPENDED")
    alone.cluster.run("scontrol", "resume", str(job.id))
    job.wait_for_state("RUNNING")
    alone.site.set_backend_status(BACKEND, "online")
    result = job.wait()
    assert (result.state, result.exit_code) == ("COMPLETED", "0:0"), result.stderr
    assert samples((job.folder / "result.json").read_text()) == ["0x1"] * 100
    alone.assert_nothing_is_left()
