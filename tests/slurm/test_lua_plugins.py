# SPDX-License-Identifier: GPL-3.0-or-later
"""Users write `--qpu` alone: the sites' examples in Lua let Slurm ask for the licences."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.cluster import SlurmCluster
from loopback.job import Job
from loopback.lua_plugins import LUA_SETTINGS, install_lua_plugins
from tests.slurm.product import PRINT_RESOURCES
from tests.slurm.watched import (
    KINGSTON,
    SETTINGS,
    SHERBROOKE,
    Watched,
    all_of,
    wait_until_pending_for_licenses,
)

LICENSE = f"qpu_{SHERBROOKE}"
USER = "nobody"
DOES_NOT_START = "no QPU could be acquired; the step does not start"


@pytest.fixture(scope="module")
def cluster_of_module(cluster_folder_of_module: Path) -> Iterator[SlurmCluster]:
    install_lua_plugins(cluster_folder_of_module)
    with SlurmCluster(cluster_folder_of_module, settings=SETTINGS | LUA_SETTINGS) as cluster:
        yield cluster
        log = cluster.slurmctld_log().splitlines()
    assert [line for line in log if re.search(r"error:.*(lua|job_submit)", line)] == []


@pytest.fixture
def refusing(watched: Watched) -> Iterator[Watched]:
    """slurmctld refuses a job without its licences."""
    install_lua_plugins(watched.cluster.folder, must_refuse=True)
    yield watched
    install_lua_plugins(watched.cluster.folder)


@pytest.fixture
def unfiltered(watched: Watched) -> dict[str, str]:
    """The environment of a user whose commands ask for no licence."""
    written = Path(watched.cluster.environment["SLURM_CONF"]).read_text()
    path = watched.folder / "slurm.conf"
    path.write_text(re.sub(r"(?m)^CliFilterPlugins=.*\n", "", written))
    plugstack = path.with_name("plugstack.conf")
    plugstack.write_text(watched.cluster.plugstack())
    return {"SLURM_CONF": str(path)}


def licenses_of(job: Job) -> str:
    return job.details()["Licenses"]


def hold(watched: Watched, *options: str, env: dict[str, str] | None = None) -> str:
    """Return the licences of a job that is submitted with these options, and held."""
    job = watched.submit("true", "--hold", *options, env=env)
    licenses = licenses_of(job)
    job.cancel()
    return licenses


def test_jobs_with_qpu_alone_wait_and_start_when_it_is_back(watched: Watched) -> None:
    watched.site.set_backend_status(SHERBROOKE, "maintenance")
    watched.write_plugstack("--license-check=require")
    with watched.monitor.running():
        watched.wait_until_withheld(all_of(SHERBROOKE))
        waiting = [
            watched.submit("echo ran", f"--qpu={SHERBROOKE}", user=user) for user in (USER, "root")
        ]
        for job in waiting:
            wait_until_pending_for_licenses(job)
        assert watched.run_job("echo ran").stdout == "ran\n"
        assert watched.run_job("true", f"--qpu={KINGSTON}").state == "COMPLETED"

        watched.site.set_backend_status(SHERBROOKE, "active")
        assert [job.wait().stdout for job in waiting] == ["ran\n", "ran\n"]
    assert watched.sessions_served() == [SHERBROOKE] * 2


def test_licences_are_put_to_those_that_the_user_gave(watched: Watched) -> None:
    both = f"--qpu={SHERBROOKE}, {KINGSTON}"
    assert hold(watched, "--qpu", SHERBROOKE) == LICENSE
    assert hold(watched, both) == f"{LICENSE},qpu_{KINGSTON}"
    given = f"matlab:2,qpu_{KINGSTON}:2"
    assert hold(watched, both, f"--licenses={given}") == f"{given},{LICENSE}"
    assert hold(watched, "--licenses=matlab") == "matlab"
    inherited = {"SLURM_SPANK__SLURM_SPANK_OPTION_spank_qrmi_qpu": SHERBROOKE}
    assert hold(watched, env=inherited) == LICENSE


def test_other_jobs_hold_their_licence_too(watched: Watched) -> None:
    watched.write_plugstack("--license-check=require")
    # A step of salloc's asks for no licence: its job has the only one.
    for command, *step in (("srun",), ("salloc", "srun")):
        words = (*step, "bash", "-c", PRINT_RESOURCES)
        assert watched.cluster.run(command, f"--qpu={SHERBROOKE}", *words).stdout == SHERBROOKE
    # A heterogeneous job needs one.
    script = f"#!/bin/sh\n#SBATCH -n1 --qpu={SHERBROOKE}\n#SBATCH hetjob\n#SBATCH -n1\necho ran\n"
    assert watched.run_job(script).stdout == "ran\n"


def test_slurmctld_gives_what_the_users_command_did_not_ask_for(
    watched: Watched, unfiltered: dict[str, str]
) -> None:
    assert hold(watched, f"--qpu={SHERBROOKE}", env=unfiltered) == LICENSE
    # Slurm hands the option over by this variable too, with no plugin where the job is submitted.
    hidden = {"_SLURM_SPANK_OPTION_spank_qrmi_qpu": KINGSTON}
    assert hold(watched, "--licenses=matlab", env=hidden) == f"matlab,qpu_{KINGSTON}"


def test_slurmctld_refuses_jobs_without_licences(
    refusing: Watched, unfiltered: dict[str, str]
) -> None:
    words = ("sbatch", "--wrap=true", f"--qpu={SHERBROOKE}")
    done = refusing.cluster.run(*words, env=unfiltered, check=False)
    assert done.returncode == 1
    assert (
        f"a job with --qpu needs the licences of its QPUs: add --licenses={LICENSE}" in done.stderr
    )
    assert hold(refusing, f"--qpu={SHERBROOKE}", f"--licenses={LICENSE}", env=unfiltered) == LICENSE
    assert hold(refusing, f"--qpu={SHERBROOKE}") == LICENSE


@pytest.mark.parametrize("gives", [True, False])
def test_user_cannot_take_the_licence_off(
    request: pytest.FixtureRequest, watched: Watched, gives: bool
) -> None:
    if not gives:
        request.getfixturevalue("refusing")
    job = watched.submit("true", "--hold", f"--qpu={SHERBROOKE}", user=USER)
    update = ("scontrol", "update", f"jobid={job.id}", "licenses=matlab")
    done = watched.cluster.run(*update, user=USER, check=False)
    assert done.returncode == (0 if gives else 1)
    assert licenses_of(job) == (f"matlab,{LICENSE}" if gives else LICENSE)
    watched.cluster.run(*update)
    assert licenses_of(job) == "matlab"
    job.cancel()


def test_step_of_an_allocation_without_qpu_is_seen_on_its_node_only(watched: Watched) -> None:
    watched.write_plugstack("--license-check=require")
    step = ("salloc", "srun", f"--qpu={SHERBROOKE}", "true")
    done = watched.cluster.run(*step, check=False)
    assert done.returncode != 0
    assert DOES_NOT_START in done.stderr
    assert watched.site.requests() == []


def test_qpu_without_licence_in_slurm_conf_is_refused(watched: Watched) -> None:
    done = watched.cluster.run("sbatch", "--wrap=true", "--qpu=FRESNEL", check=False)
    assert done.returncode == 1
    assert "Invalid license specification" in done.stderr
