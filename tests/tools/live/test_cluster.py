# SPDX-License-Identifier: GPL-3.0-or-later
"""The loopback cluster itself: what every other test of these rings take for granted."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from loopback.cluster import SlurmCluster
from loopback.errors import ClusterError, CommandError, WaitTimeoutError
from loopback.job import parse_environment
from loopback.waiting import wait_until


def traces_of(folder: Path) -> list[str]:
    """Return the processes that name the folder anywhere, found without the cluster's help."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        seen = ""
        # A process may end, and a file may be closed, while we look.
        with contextlib.suppress(OSError):
            seen += (process / "cmdline").read_text() + (process / "environ").read_text()
            for link in [process / "cwd", *(process / "fd").iterdir()]:
                with contextlib.suppress(FileNotFoundError):
                    seen += str(link.readlink())
        if str(folder) in seen:
            found.append(f"{process.name} {seen!r}")
    return found


def test_batch_job_of_an_ordinary_user(cluster: SlurmCluster):
    result = cluster.submit("id -un; pwd; touch made; exit 7", user="nobody").wait()

    assert (result.state, result.exit_code, result.nodes) == ("FAILED", "7:0", "n1")
    user, folder = result.stdout.splitlines()
    assert user == "nobody"
    assert Path(folder, "made").owner() == "nobody"


def test_what_fails_takes_too_long_or_never_comes_is_an_error(cluster: SlurmCluster):
    with pytest.raises(CommandError, match="exit status 3\nseen"):
        cluster.run("sh", "-c", "echo seen; exit 3")
    with pytest.raises(CommandError, match=r"sleep 60: not done after 0\.1 s"):
        cluster.run("sleep", "60", timeout_seconds=0.1)
    job = cluster.submit("echo oh >&2; exit 1")
    with pytest.raises(ClusterError, match="ended as FAILED and never was SUSPENDED:\noh"):
        job.wait_for_state("SUSPENDED")
    with pytest.raises(WaitTimeoutError, match="no log line 'no such line' within"):
        cluster.wait_for_log("no such line", timeout_seconds=0.1)


def test_log_lines_of_a_job(cluster: SlurmCluster):
    first = cluster.submit("srun true", "--nodes=2")
    first.wait()
    second = cluster.submit("true")
    second.wait()

    cluster.wait_for_log(re.compile("done with (job|step)"), job=second)
    lines = cluster.log_lines_of(first)
    assert any(f"[{first.id}.batch]" in line for line in lines)
    assert any(f"[{first.id}.0]" in line for line in lines)
    assert f"[{first.id}.0]" in cluster.slurmd_log("n2")
    assert not any(f"[{second.id}." in line for line in lines)
    assert f"JobId={first.id}" in cluster.slurmctld_log()
    assert cluster.wait_for_log(re.compile(rf"_job_complete: JobId={second.id} done"))


def test_environment_as_a_job_has_printed_it():
    assert parse_environment("A=1\nB=two\n lines\nC=\n") == {"A": "1", "B": "two\n lines", "C": ""}
    assert parse_environment("A=1\ntwo=2\n\n=three \0B=\0") == {"A": "1\ntwo=2\n\n=three ", "B": ""}


def test_environment_of_an_outer_job_is_not_passed_on(
    cluster_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SBATCH_PARTITION", "elsewhere")

    environment = SlurmCluster(cluster_folder).environment

    assert environment["SLURM_CONF"] == str(cluster_folder / "slurm.conf")
    assert not {"SLURM_JOB_ID", "SBATCH_PARTITION"} & environment.keys()


def test_job_outlives_restarts_of_its_daemons(cluster: SlurmCluster):
    job = cluster.submit("sleep 60")
    job.wait_for_state("RUNNING")
    # slurmctld says so before slurmd has started anything.
    wait_until(lambda: cluster.stepd_pids(job.id), 20, "slurmstepd")
    cluster.restart_slurmd("n1", kill=True)
    cluster.restart_slurmctld()

    assert job.state() == "RUNNING"
    assert cluster.queue() == [str(job.id)]
    assert cluster.stepd_pids(job.id)
    cluster.cancel_all()
    assert job.wait().state == "CANCELLED"
    assert not cluster.stepd_pids(job.id)


def test_node_that_is_not_well_is_named_with_its_reason_and_repaired(cluster: SlurmCluster):
    cluster.run("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=for a test")
    assert cluster.node_states() == {"n1": "idle", "n2": "drained: for a test"}
    with pytest.raises(ClusterError, match=r"n2.*drained: for a test"):
        cluster.assert_nodes_healthy()
    cluster.repair()
    assert cluster.node_states() == {"n1": "idle", "n2": "idle"}

    cluster.stop_slurmd("n2")
    with pytest.raises(ClusterError, match="slurmd-n2 has been stopped"):
        cluster.assert_nodes_healthy()
    cluster.repair()

    pid = cluster.daemon_pid("slurmd-n1")
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ClusterError, match="slurmd-n1 ended with status -9"):
        cluster.assert_nodes_healthy()
    cluster.repair()


def test_two_clusters_at_once(cluster: SlurmCluster, cluster_folder: Path):
    job = cluster.submit("sleep 60")
    job.wait_for_state("RUNNING")
    with SlurmCluster(cluster_folder, nodes=1, settings={"KillWait": "3"}) as second:
        assert second.node_states() == {"n1": "idle"}
        other = second.submit("echo $SLURM_CONF; sleep 60")
        wait_until(lambda: other.stdout, 10, "output")
        assert other.stdout.strip() == str(cluster_folder / "slurm.conf")
        assert not second.process_ids() & cluster.process_ids()
        assert not second.stepd_pids() & cluster.stepd_pids()

    assert job.state() == "RUNNING"
    job.cancel()
    job.wait()


@pytest.mark.parametrize("controller_is_dead", [False, True])
def test_stop_leaves_nothing_of_a_running_job(cluster_folder: Path, controller_is_dead: bool):
    cluster = SlurmCluster(cluster_folder, settings={"KillWait": "3"})
    cluster.start()
    cluster.submit("trap '' TERM; setsid sleep 60 & sleep 60", user="nobody").wait_for_state(
        "RUNNING"
    )
    background = cluster.spawn("srun", "sleep", "60")
    wait_until(lambda: len(cluster.stepd_pids()) == 2, 10, "both steps")
    assert len(traces_of(cluster_folder)) > 6
    if controller_is_dead:
        cluster.stop_slurmctld(kill=True)

    cluster.stop()
    cluster.stop()

    background.communicate(timeout=10)
    assert traces_of(cluster_folder) == []


def test_orphans_of_a_killed_step_are_ended(cluster_folder: Path):
    with SlurmCluster(cluster_folder, nodes=1) as cluster:
        job = cluster.submit("echo here; sleep 60")
        wait_until(lambda: job.stdout, 10, "output")
        for pid in cluster.stepd_pids(job.id):
            os.kill(pid, signal.SIGKILL)

    assert traces_of(cluster_folder) == []


@pytest.mark.parametrize("ending", ["raise KeyboardInterrupt", "os.kill(os.getpid(), 9)"])
def test_nothing_outlives_the_process_that_started_it(cluster_folder: Path, ending: str):
    program = textwrap.dedent(f"""
        import os
        from pathlib import Path
        from loopback.cluster import SlurmCluster
        SlurmCluster(Path({str(cluster_folder)!r})).start()
        {ending}
    """)
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    wait_until(
        lambda: traces_of(cluster_folder), 10, "end of daemons", accept=lambda found: not found
    )


def test_failed_start_shows_the_log_and_leaves_nothing(cluster_folder: Path):
    broken = SlurmCluster(cluster_folder, settings={"SelectType": "select/nonexistent"})

    with pytest.raises(ClusterError, match=r"(?s)slurmctld ended with status 1.*nonexistent"):
        broken.start()

    assert traces_of(cluster_folder) == []
