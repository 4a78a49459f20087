# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs wait in the queue for the licences of QPUs that are away, and start when these are back."""

import re
from pathlib import Path

from loopback.leaks import LeakSearch
from loopback.processes import children_of
from loopback.site import SECRETS
from loopback.waiting import wait_until
from tests.slurm.watched import (
    KINGSTON,
    PATIENCE_SECONDS,
    SETTINGS,
    SHERBROOKE,
    Watched,
    all_of,
    wait_until_pending_for_licenses,
)

CLUSTER = {"nodes": 1, "settings": SETTINGS}


def test_jobs_wait_for_a_qpu_in_maintenance(watched: Watched) -> None:
    watched.site.set_backend_status(SHERBROOKE, "maintenance")
    with watched.monitor.running() as monitor:
        watched.wait_until_withheld(all_of(SHERBROOKE))
        waiting = watched.submit_licensed(SHERBROOKE, "echo ran")
        ordinary = watched.submit("echo ran")
        wait_until_pending_for_licenses(waiting)
        assert ordinary.wait().stdout == "ran\n"
        assert waiting.state() == "PENDING"
        assert watched.site.sessions() == []

        watched.site.set_backend_status(SHERBROOKE, "active")
        result = waiting.wait()
        assert (result.state, result.stdout, result.stderr) == ("COMPLETED", "ran\n", "")
        assert [each["backend_name"] for each in watched.site.sessions()] == [SHERBROOKE]
        assert watched.withheld() == {}
        # What asks ends with each round.
        LeakSearch(watched.cluster.folder, SECRETS).check_memory([monitor.daemon.pid])


def test_job_that_runs_keeps_its_licence(watched: Watched) -> None:
    running = watched.submit_licensed(SHERBROOKE, "echo started; sleep 600")
    wait_until(lambda: running.stdout, PATIENCE_SECONDS, "acquired QPU")
    watched.site.set_backend_status(SHERBROOKE, "maintenance")
    # What a round has reserved, the next one finds.
    for _ in range(2):
        assert watched.monitor.run("--once").returncode == 0
        assert watched.withheld() == all_of(SHERBROOKE)
    waiting = watched.submit_licensed(SHERBROOKE)
    assert running.state() == "RUNNING"
    running.cancel()
    running.wait()
    # Its licence is nobody's now.
    wait_until_pending_for_licenses(waiting)
    waiting.cancel()


def test_lane_for_one_job_of_two(watched: Watched) -> None:
    watched.site.change_backend(KINGSTON, lanes=1)
    with watched.monitor.running():
        watched.wait_until_withheld({f"spank_qrmi_qpu_{KINGSTON}": f"qpu_{KINGSTON}:2"})
        first = watched.submit_licensed(KINGSTON, "sleep 600")
        first.wait_for_state("RUNNING")
        second = watched.submit_licensed(KINGSTON)
        wait_until_pending_for_licenses(second)
        first.cancel()
        assert second.wait().state == "COMPLETED"


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
        watched.monitor.run("--once")
        assert watched.withheld() == foreign | all_of(SHERBROOKE)
        done = watched.monitor.run("--release-all")
        assert (done.returncode, done.stdout) == (0, f"released spank_qrmi_qpu_{SHERBROOKE}\n")
        assert watched.withheld() == foreign
    finally:
        for name in foreign:
            watched.cluster.run("scontrol", "delete", f"reservation={name}")


def test_monitor_that_is_killed_leaves_licences_as_they_are(watched: Watched) -> None:
    watched.site.set_backend_status(SHERBROOKE, "maintenance")
    monitor = watched.monitor.start()
    watched.wait_until_withheld(all_of(SHERBROOKE))
    monitor.kill()
    watched.site.set_backend_status(SHERBROOKE, "active")
    watched.site.set_backend_status(KINGSTON, "paused")
    assert watched.withheld() == all_of(SHERBROOKE)
    with watched.monitor.running():
        watched.wait_until_withheld(all_of(KINGSTON))
    # It was told to end, and has.
    assert watched.withheld() == all_of(KINGSTON)


def test_monitor_outlives_slurmctld(watched: Watched) -> None:
    with watched.monitor.running() as monitor:
        watched.site.set_backend_status(SHERBROOKE, "maintenance")
        watched.wait_until_withheld(all_of(SHERBROOKE))
        watched.cluster.stop_slurmctld()
        watched.site.set_backend_status(SHERBROOKE, "active")
        watched.site.set_backend_status(KINGSTON, "paused")
        wait_until(
            lambda: [line for line in monitor.lines if "licences stay as they are" in line],
            PATIENCE_SECONDS,
            "complaint about slurmctld",
        )
        watched.cluster.start_slurmctld()
        watched.wait_until_withheld(all_of(KINGSTON))
        monitor.daemon.check()


def test_nobody_asks(watched: Watched) -> None:
    """The monitor and the process of a round are root; what asks for them is not."""
    watched.site.order_fault("hang", "/")
    with watched.monitor.running() as monitor:
        watched.wait_for_request("/")
        [of_round] = children_of(monitor.daemon.pid)
        [asking] = children_of(of_round)
        users = [user_of(pid) for pid in (monitor.daemon.pid, of_round, asking)]
    watched.site.clear_faults()
    assert users == [0, 0, 65534]
    wait_until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in (of_round, asking)),
        PATIENCE_SECONDS,
        "end of the round's processes",
    )


def user_of(pid: int) -> int:
    [line] = re.findall(r"(?m)^Uid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(line)
