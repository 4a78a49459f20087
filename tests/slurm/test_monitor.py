# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs wait in the queue for the licences of QPUs that are away, and start when these are back."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.cluster import SlurmCluster
from loopback.configuration import slurm_version
from loopback.installation import Installation
from loopback.leaks import LeakSearch
from loopback.processes import children_of
from loopback.site import SECRETS, Site
from loopback.waiting import wait_until
from spank_qrmi.catalog.files import read_catalog
from spank_qrmi.status import QpuState
from tests.slurm.watched import (
    KINGSTON,
    PATIENCE_SECONDS,
    SHERBROOKE,
    Watched,
    all_of,
    licenses_of_slurm_conf,
    watched_on,
)

RESERVATION = f"spank_qrmi_qpu_{SHERBROOKE}"
NOBODY = 65534
FIRST_WITH_DYNAMIC_LICENSES = (23, 2)


def cluster_with_licenses(folder: Path) -> SlurmCluster:
    return SlurmCluster(folder, nodes=1, settings={"Licenses": licenses_of_slurm_conf()})


@pytest.fixture(scope="module")
def licensed_cluster(cluster_folder_of_module: Path) -> Iterator[SlurmCluster]:
    with cluster_with_licenses(cluster_folder_of_module) as one:
        yield one


@pytest.fixture
def watched(
    licensed_cluster: SlurmCluster, installation: Installation, site: Site
) -> Iterator[Watched]:
    yield from watched_on(licensed_cluster, installation, site)


@pytest.fixture
def watched_alone(
    cluster_folder: Path, installation: Installation, site: Site
) -> Iterator[Watched]:
    """One whose slurmctld may be killed: it forgets what was done since it last saved its state."""
    with cluster_with_licenses(cluster_folder) as one:
        yield from watched_on(one, installation, site)


def test_jobs_wait_for_a_qpu_in_maintenance(watched: Watched) -> None:
    watched.site.set_backend_status(SHERBROOKE, "maintenance")
    with watched.command.running() as monitor:
        watched.wait_until_withheld(all_of(SHERBROOKE))
        waiting = watched.submit(SHERBROOKE, "echo ran")
        ordinary = watched.product.submit("echo ran")
        watched.wait_until_pending_for_licenses(waiting)
        assert ordinary.wait().stdout == "ran\n"
        assert waiting.state() == "PENDING"
        assert watched.site.sessions() == []

        watched.site.set_backend_status(SHERBROOKE, "active")
        result = waiting.wait()
        assert (result.state, result.stdout, result.stderr) == ("COMPLETED", "ran\n", "")
        assert [each["backend_name"] for each in watched.site.sessions()] == [SHERBROOKE]
        assert watched.withheld() == {}
        told = [line for line in monitor.lines if SHERBROOKE in line and "no licences" not in line]
        assert [re.sub(r"^spank-qrmi: | \(.*\)", "", line) for line in told] == [
            f"{SHERBROOKE}: paused: the backend is maintenance: maintenance",
            f"{SHERBROOKE}: 1 of 1 licences qpu_{SHERBROOKE} withheld, 0 before: paused: the "
            "backend is maintenance: maintenance",
            f"{SHERBROOKE}: online, paused before: the backend is active: available",
            f"{SHERBROOKE}: 0 of 1 licences qpu_{SHERBROOKE} withheld, 1 before: online: the "
            "backend is active: available",
        ]
        # What asks ends with each round.
        LeakSearch(watched.cluster.folder, SECRETS).check_memory([monitor.daemon.pid])


def test_job_that_runs_keeps_its_licence(watched: Watched) -> None:
    running = watched.submit(SHERBROOKE, "echo started; sleep 600")
    wait_until(lambda: running.stdout, PATIENCE_SECONDS, "acquired QPU")
    watched.site.set_backend_status(SHERBROOKE, "maintenance")
    assert watched.command.run("--once").returncode == 0
    assert watched.withheld() == all_of(SHERBROOKE)
    waiting = watched.submit(SHERBROOKE)
    assert running.state() == "RUNNING"
    running.cancel()
    running.wait()
    # Its licence is nobody's now.
    watched.wait_until_pending_for_licenses(waiting)
    waiting.cancel()


def test_lane_for_one_job_of_two(watched: Watched) -> None:
    watched.site.change_backend(KINGSTON, lanes=1)
    with watched.command.running():
        watched.wait_until_withheld({f"spank_qrmi_qpu_{KINGSTON}": f"qpu_{KINGSTON}:2"})
        first = watched.submit(KINGSTON, "sleep 600")
        first.wait_for_state("RUNNING")
        second = watched.submit(KINGSTON)
        watched.wait_until_pending_for_licenses(second)
        first.cancel()
        assert second.wait().state == "COMPLETED"


def test_lane_that_others_leave(watched: Watched) -> None:
    watched.site.change_backend(KINGSTON, lanes=3, holds_jobs=True)
    for job_id in ("of-others-1", "of-others-2"):
        watched.site.submit_quantum_job_of_a_user(KINGSTON, job_id)
    with watched.command.running():
        watched.wait_until_withheld({f"spank_qrmi_qpu_{KINGSTON}": f"qpu_{KINGSTON}:2"})
        first, second = (watched.submit(KINGSTON, "sleep 600") for _ in range(2))
        first.wait_for_state("RUNNING")
        watched.wait_until_pending_for_licenses(second)
        assert first.state() == "RUNNING"
        first.cancel()
        second.wait_for_state("RUNNING")
        second.cancel()


def test_service_that_is_gone_closes_after_the_grace(watched: Watched) -> None:
    with watched.command.running() as monitor:
        wait_until(lambda: monitor.lines, PATIENCE_SECONDS, "first round")
        watched.site.order_fault("drop", "/")
        watched.wait_until_withheld(all_of(SHERBROOKE) | all_of(KINGSTON))
        waiting = watched.submit(SHERBROOKE)
        watched.wait_until_pending_for_licenses(waiting)
        watched.site.clear_faults()
        assert waiting.wait().state == "COMPLETED"
        assert watched.withheld() == {}


def test_one_round(watched: Watched) -> None:
    watched.site.set_backend_status(SHERBROOKE, "maintenance")
    folder = watched.product.folder / "published"
    folder.mkdir()
    for _ in range(2):
        done = watched.command.run("--once", f"--publish={folder}")
        assert done.returncode == 0
        assert watched.withheld() == all_of(SHERBROOKE)
    entries = {each.name: each for each in read_catalog(folder).entries}
    found = entries[SHERBROOKE]
    assert (found.status.state, found.total_licenses, found.withheld_licenses) == (
        *(QpuState.PAUSED, 1, 1),
    )
    assert (entries["FRESNEL"].status.state, entries["FRESNEL"].total_licenses) == (
        *(QpuState.ONLINE, None),
    )


def test_licences_that_slurm_does_not_have_are_told_once(watched: Watched) -> None:
    with watched.command.running() as monitor:
        watched.site.set_backend_status(SHERBROOKE, "maintenance")
        watched.wait_until_withheld(all_of(SHERBROOKE))
        watched.site.set_backend_status(SHERBROOKE, "active")
        watched.wait_until_withheld({})
        [told] = [line for line in monitor.lines if "no licences" in line]
    assert "qpu_FRESNEL" in told
    assert f"qpu_{SHERBROOKE}" not in told


def test_reservations_of_others_are_left_alone(watched: Watched) -> None:
    foreign = {"maintenance": "matlab:2", "spank_qrmi_matlab": "matlab:1"}
    for name, licenses in foreign.items():
        watched.cluster.run(
            *("scontrol", "create", "reservation", f"reservationname={name}"),
            *(f"licenses={licenses}", "flags=LICENSE_ONLY", "user=root"),
            *("starttime=now", "duration=60"),
        )
    try:
        watched.site.set_backend_status(SHERBROOKE, "maintenance")
        watched.command.run("--once")
        assert watched.withheld() == foreign | all_of(SHERBROOKE)
        done = watched.command.run("--release-all")
        assert (done.returncode, done.stdout) == (0, f"released {RESERVATION}\n")
        assert watched.withheld() == foreign
    finally:
        for name in foreign:
            watched.cluster.run("scontrol", "delete", f"reservation={name}")


def test_monitor_that_is_killed_leaves_licences_as_they_are(watched: Watched) -> None:
    watched.site.set_backend_status(SHERBROOKE, "maintenance")
    monitor = watched.command.start()
    watched.wait_until_withheld(all_of(SHERBROOKE))
    monitor.kill()
    watched.site.set_backend_status(SHERBROOKE, "active")
    watched.site.set_backend_status(KINGSTON, "paused")
    assert watched.withheld() == all_of(SHERBROOKE)
    with watched.command.running():
        watched.wait_until_withheld(all_of(KINGSTON))
    # It was told to end, and has.
    assert watched.withheld() == all_of(KINGSTON)


def test_monitor_outlives_slurmctld(watched_alone: Watched) -> None:
    with watched_alone.command.running() as monitor:
        watched_alone.site.set_backend_status(SHERBROOKE, "maintenance")
        watched_alone.wait_until_withheld(all_of(SHERBROOKE))
        watched_alone.cluster.stop_slurmctld(kill=True)
        watched_alone.site.set_backend_status(SHERBROOKE, "active")
        watched_alone.site.set_backend_status(KINGSTON, "paused")
        wait_until(
            lambda: [line for line in monitor.lines if "licences stay as they are" in line],
            PATIENCE_SECONDS,
            "complaint about slurmctld",
        )
        watched_alone.cluster.start_slurmctld()
        watched_alone.wait_until_withheld(all_of(KINGSTON))
        monitor.daemon.check()


def test_second_monitor_is_refused_and_harmless(watched: Watched) -> None:
    watched.site.set_backend_status(SHERBROOKE, "maintenance")
    with watched.command.running() as monitor:
        watched.wait_until_withheld(all_of(SHERBROOKE))
        for option in ("--once", "--release-all"):
            done = watched.command.run(option)
            assert done.returncode == 1
            assert "another monitor works with it" in done.stderr
            assert len(done.stderr.splitlines()) == 1
        assert watched.withheld() == all_of(SHERBROOKE)
        monitor.daemon.check()


def test_nobody_asks(watched: Watched) -> None:
    """The monitor and the process of a round are root; what asks for them is not."""
    watched.site.order_fault("hang", "/")
    with watched.command.running() as monitor:
        watched.product.wait_for_request("/")
        [of_round] = children_of(monitor.daemon.pid)
        [asking] = children_of(of_round)
        users = [user_of(pid) for pid in (monitor.daemon.pid, of_round, asking)]
    watched.site.clear_faults()
    assert users == [0, 0, NOBODY]
    wait_until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in (of_round, asking)),
        PATIENCE_SECONDS,
        "end of the round's processes",
    )


def user_of(pid: int) -> int:
    [line] = re.findall(r"(?m)^Uid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(line)


def test_lines_for_slurm_conf(watched: Watched) -> None:
    done = watched.command.run("--print-licenses")
    assert done.returncode == 0
    line = done.stdout.splitlines()[-1].removeprefix("Licenses=")
    counts = dict(each.split(":") for each in line.split(","))
    assert (counts["qpu_FRESNEL"], counts[f"qpu_{SHERBROOKE}"]) == ("1", "1")
    assert int(counts[f"qpu_{KINGSTON}"]) > 1
    assert watched.withheld() == {}


@pytest.fixture
def accounted(
    accounting_installed: None, cluster_folder: Path, installation: Installation, site: Site
) -> Iterator[Watched]:
    with SlurmCluster(cluster_folder, nodes=1, has_accounting=True) as cluster:
        yield from watched_on(cluster, installation, site, "--licenses=dbd")


def test_licences_of_slurmdbd(accounted: Watched) -> None:
    """Older releases have none, which is told."""
    if slurm_version() < FIRST_WITH_DYNAMIC_LICENSES:
        done = accounted.command.run("--once")
        assert done.returncode == 1
        assert "--licenses=dbd needs Slurm 23.02 or later" in done.stderr
        return
    printed = accounted.command.run("--print-licenses").stdout
    [line] = [line for line in printed.splitlines() if f"name=qpu_{SHERBROOKE} " in line]
    sacctmgr, *words = line.split()
    accounted.cluster.run(sacctmgr, "--immediate", *words)
    accounted.site.set_backend_status(SHERBROOKE, "maintenance")
    license_name = f"qpu_{SHERBROOKE}@spank_qrmi"
    with accounted.command.running():
        wait_until(lambda: deficit_of(accounted, license_name), PATIENCE_SECONDS, "licence in use")
        waiting = accounted.product.submit(
            "echo ran", f"--qpu={SHERBROOKE}", f"--licenses={license_name}"
        )
        accounted.wait_until_pending_for_licenses(waiting)
        accounted.site.set_backend_status(SHERBROOKE, "active")
        assert waiting.wait().stdout == "ran\n"
    accounted.site.set_backend_status(SHERBROOKE, "maintenance")
    assert accounted.command.run("--once").returncode == 0
    assert deficit_of(accounted, license_name) == 1
    done = accounted.command.run("--release-all")
    assert (done.returncode, done.stdout) == (0, f"released qpu_{SHERBROOKE}\n")
    wait_until(
        lambda: deficit_of(accounted, license_name) == 0, PATIENCE_SECONDS, "licence that is free"
    )


def deficit_of(watched: Watched, license_name: str) -> int:
    shown = watched.cluster.run("scontrol", "--oneliner", "show", "licenses").stdout
    found = re.search(rf"LicenseName={license_name} .*LastDeficit=(\d+)", shown)
    return int(found[1]) if found else 0
