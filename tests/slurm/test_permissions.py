# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose jobs may use a QPU, and with which licences, where Slurm knows accounts and licences."""

import grp
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.cluster import SlurmCluster
from loopback.errors import SubmitError
from loopback.job import JobResult
from loopback.waiting import wait_until
from tests.slurm.both_ways import both_ways
from tests.slurm.product import Product, readable_lines

NAME = "ibm_sherbrooke"
LICENSE = f"qpu_{NAME}"
# From 26.05 on, Slurm knows no account of nobody.
USER = "daemon"
SECONDS = 60.0
ASK = "ask the administrator"
NO_LICENSE = (
    f"the job does not hold a licence for it: submit it with --licenses={LICENSE}, or {ASK}"
)
DOES_NOT_START = f"--qpu={NAME}: no QPU could be acquired; the job does not start"


def user_with_another_group() -> tuple[str, str]:
    """Return a user of this machine and a group that is not its main one; USER's own if none is."""
    known = {account.pw_name: account.pw_gid for account in pwd.getpwall()}
    for group in grp.getgrall():
        for member in group.gr_mem:
            if known.get(member, group.gr_gid) != group.gr_gid:
                return member, group.gr_name
    return USER, grp.getgrgid(pwd.getpwnam(USER).pw_gid).gr_name


MEMBER, GROUP = user_with_another_group()


@pytest.fixture(scope="module")
def cluster_of_module(
    accounting_installed: None, cluster_folder_of_module: Path
) -> Iterator[SlurmCluster]:
    """A cluster with two partitions, licences, and accounts that its users cannot invent."""
    settings = {"AccountingStorageEnforce": "associations", "Licenses": f"{LICENSE}:2,other:5"}
    with SlurmCluster(
        cluster_folder_of_module, nodes=1, has_accounting=True, settings=settings
    ) as cluster:
        cluster.run("sacctmgr", "--immediate", "add", "account", "physics,chemistry")
        users = ",".join({USER, MEMBER, "root"})
        accounts = "account=physics,chemistry"
        cluster.run("sacctmgr", "--immediate", "add", "user", users, accounts)
        cluster.run("scontrol", "create", "PartitionName=quantum", "Nodes=n1")
        for user in (USER, MEMBER):
            wait_until(lambda user=user: may_submit(cluster, user), SECONDS, f"account of {user}")
        yield cluster


def may_submit(cluster: SlurmCluster, user: str) -> bool:
    """Return whether slurmctld knows of a user's account, which it is told after a while."""
    try:
        return cluster.submit("true", "--account=physics", user=user).wait().state == "COMPLETED"
    except SubmitError:
        return False


def restrict(product: Product, *arguments: str, **access: list[str]) -> None:
    """Let an entry say whose jobs may use the QPU."""
    config = product.write_config({**product.entry(NAME), **access})
    product.write_plugstack(*arguments, config=config)


def run_job(product: Product, *options: str, user: str = USER) -> JobResult:
    # What a job says of itself counts for nothing.
    claims = {
        "SLURM_JOB_ACCOUNT": "physics",
        "SLURM_JOB_PARTITION": "quantum",
        "SLURM_JOB_LICENSES": f"{LICENSE}:1",
        "SLURM_JOB_GROUP": "root",
        "SLURM_JOB_GID": "0",
    }
    options = (f"--qpu={NAME}", "--account=physics", *options)
    return product.run_job("echo started", *options, user=user, env=claims)


def assert_refused(product: Product, result: JobResult, reason: str) -> None:
    assert readable_lines(result.stderr) == [f"QPU {NAME}: {reason}", DOES_NOT_START]
    assert (result.state, result.stdout) == ("FAILED", "")
    assert product.site.requests() == []


def assert_acquired(product: Product, result: JobResult) -> None:
    assert (result.state, result.stdout, result.stderr) == ("COMPLETED", "started\n", "")
    assert product.sessions_served() == [NAME]


@both_ways
def test_group_lets_in_or_keeps_out(product: Product):
    restrict(product, groups=["0"])
    assert_refused(product, run_job(product), f"only for group 0: {ASK}")
    restrict(product, users=["root"], groups=["daemon", GROUP])
    assert_acquired(product, run_job(product, user=MEMBER))


def test_account_and_partition_must_be_ones_of_those_named(product: Product):
    for kind, named, other in (
        ("account", "Physics", "chemistry"),
        ("partition", "quantum", "main"),
    ):
        product.site.reset()
        restrict(product, **{f"{kind}s": [named]})
        has = f"this job has {kind} {other}: submit it with --{kind}"
        refused = run_job(product, f"--{kind}={other}")
        assert_refused(product, refused, f"only for {kind} {named}; {has}")
        assert_acquired(product, run_job(product, f"--{kind}={named.lower()}"))


def test_licence_is_required(product: Product):
    restrict(product, "--license-check=require")
    assert_refused(product, run_job(product, "--licenses=other"), NO_LICENSE)
    assert_acquired(product, run_job(product, f"--licenses=other:2,{LICENSE}"))


def test_each_task_of_an_array_holds_its_own_licence(product: Product):
    restrict(product, "--license-check=require")
    options = (f"--qpu={NAME}", "--account=physics", f"--licenses={LICENSE}")
    job = product.submit("echo started", "--array=1-3", "--output=output-%a", *options)
    product.cluster.wait_for_empty_queue()
    printed = [(job.folder / f"output-{task}").read_text() for task in (1, 2, 3)]
    assert job.stderr == ""
    assert printed == ["started\n"] * 3
    assert product.sessions_served() == [NAME] * 3


def test_plain_srun_holds_its_jobs_licence(product: Product):
    restrict(product, "--license-check=require")
    options = (f"--qpu={NAME}", "--account=physics")
    done = product.srun(*options, "true", check=False)
    assert done.returncode != 0
    assert NO_LICENSE in done.stderr
    assert product.site.requests() == []
    said = product.srun(*options, f"--licenses={LICENSE}:2", "true").stderr
    # It may have waited until the licences of the job before were free.
    assert [line for line in said.splitlines() if not line.startswith("srun: job ")] == []
    assert product.sessions_served() == [NAME]
