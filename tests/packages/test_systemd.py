# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian package where systemd runs: its units, killed, upgraded, idle, after a crash, gone."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from clean_root.root import Root

from loopback.configuration import reserved_ports
from loopback.errors import CommandError
from loopback.installation import snapshot
from loopback.job import Job
from loopback.site import Site
from loopback.waiting import wait_until
from spank_qrmi.catalog.files import read_catalog
from tests.packages.booted_node import CONFIGURATION, PLUGSTACK, SERVER, SLURM, BootedNode

RELEASE = "spank-qrmi-release.service"
TIMER = "spank-qrmi-release.timer"
TARGET = "spank-qrmi.target"
MONITOR = "spank-qrmi-monitor.service"
SERVER_SOCKET = "spank-qrmi-worker-server.socket"
QPU = "--qpu=ibm_sherbrooke"
PATIENCE_SECONDS = 20.0


@pytest.fixture(scope="module")
def booted_node(booting_root: Root) -> Iterator[BootedNode]:
    """A booted machine with Slurm, before the package comes."""
    with (
        tempfile.TemporaryDirectory(prefix="spank-qrmi-root-", dir="/tmp") as folder,
        reserved_ports(2) as ports,
        Site(Path(folder)) as site,
    ):
        node = BootedNode(Path(folder), site)
        node.root.mkdir()
        booting_root.copy_to(node.root)
        node.configure(*ports)
        node.boot()
        try:
            node.clear()
            yield node
        finally:
            node.cut_power()


@pytest.fixture(scope="module")
def files_before(booted_node: BootedNode) -> dict[str, tuple[int, str]]:
    """What was there before the package came."""
    return package_files(booted_node)


@pytest.fixture
def node(
    booted_node: BootedNode, files_before: dict[str, tuple[int, str]], deb: Path
) -> BootedNode:
    """The node with the package installed and the plugin enabled, and no job."""
    if not (booted_node.root / "usr/sbin/spank-qrmi").is_symlink():
        booted_node.install(deb)
        booted_node.enable_plugin()
    booted_node.clear()
    booted_node.site.reset()
    return booted_node


def package_files(node: BootedNode) -> dict[str, tuple[int, str]]:
    """Return all below the folders that packages write to, with mode and content."""
    return {
        f"{name}/{path}": content
        for name in ("etc", "usr")
        for path, content in snapshot(node.root / name).items()
    }


def run_job(node: BootedNode) -> Job:
    """Run a QPU job, whose session is closed then."""
    job = node.submit("printenv SLURM_JOB_QPU_RESOURCES", QPU)
    result = job.wait()
    assert (result.state, result.stdout) == ("COMPLETED", "ibm_sherbrooke\n"), result.stderr
    assert_released(node)
    return job


def assert_released(node: BootedNode) -> None:
    node.site.wait_until_released()
    wait_until(lambda: not node.held(), PATIENCE_SECONDS, "empty journal")


def assert_job_is_served(node: BootedNode) -> None:
    """Wait until the server has a worker, and run a job that acquires and releases by it."""
    wait_until(node.has_ready_worker, PATIENCE_SECONDS, "ready worker")
    job = run_job(node)
    assert node.served_count(job) == 2, node.slurmd_log.read_text(errors="replace")[-8000:]


def assert_holds_one(node: BootedNode) -> None:
    assert (len(node.site.open_sessions()), len(node.held())) == (1, 1)


def start_server(node: BootedNode) -> None:
    """Let a job start the server, and wait until that has a worker for the next one."""
    run_job(node)
    wait_until(node.has_ready_worker, PATIENCE_SECONDS, "ready worker")


@contextmanager
def holding_job(node: BootedNode) -> Iterator[Job]:
    """Have a job run that holds its QPU through what is done meanwhile, and then releases it."""
    with node.running_job(QPU) as job:
        yield job
        assert_holds_one(node)
    assert job.wait().state == "COMPLETED"
    assert_released(node)


def kill_server(node: BootedNode) -> None:
    pid = node.server_pid()
    assert pid != 0
    node.run("kill", "-KILL", str(pid))
    wait_until(lambda: node.server_pid() != pid, PATIENCE_SECONDS, "end of the worker server")


def test_job_is_served_by_what_the_package_enables(node: BootedNode) -> None:
    for unit in (*SLURM, TARGET, TIMER, SERVER_SOCKET):
        assert node.property_of(unit, "ActiveState") == "active", unit

    # The first job is what starts the server, which may take longer than a plugin waits for it.
    run_job(node)
    assert_job_is_served(node)


def test_jobs_do_without_the_target_until_it_is_enabled_again(node: BootedNode) -> None:
    node.run("systemctl", "disable", "--now", TARGET)
    try:
        assert node.served_count(run_job(node)) == 0
    finally:
        node.run("systemctl", "enable", "--now", TARGET)
    run_job(node)
    assert_job_is_served(node)


def test_server_that_cannot_start_is_given_up_until_an_administrator_has_mended_it(
    node: BootedNode,
) -> None:
    node.run("systemctl", "stop", SERVER)
    with node.drop_in(SERVER, "[Service]\nExecStart=\nExecStart=/bin/false\n"):
        assert node.served_count(run_job(node)) == 0
        wait_until(
            lambda: node.property_of(SERVER_SOCKET, "ActiveState"),
            PATIENCE_SECONDS,
            "closed socket",
            accept="failed".__eq__,
        )
    said = node.run("journalctl", "-u", "spank-qrmi-worker-server").stdout
    assert "status=1/FAILURE" in said
    node.run("systemctl", "reset-failed", "spank-qrmi-worker-server.*")
    node.run("systemctl", "restart", TARGET)
    run_job(node)
    assert_job_is_served(node)


def test_server_that_is_killed_in_mid_job(node: BootedNode) -> None:
    start_server(node)
    with holding_job(node):
        kill_server(node)
    assert_job_is_served(node)


def test_server_that_is_killed_while_its_worker_acquires(node: BootedNode) -> None:
    start_server(node)
    node.site.reset()
    node.site.order_fault("delay", "/runtime/", delay_seconds=2)

    job = node.submit("echo started", QPU)
    wait_until(node.site.requests, PATIENCE_SECONDS, "request of the job")
    assert node.served_count(job) == 1
    kill_server(node)

    # systemd leaves the worker alone.
    result = job.wait()
    assert (result.state, result.stdout, result.stderr) == ("COMPLETED", "started\n", "")
    assert_released(node)
    assert len(node.site.sessions()) == 1
    node.site.clear_faults()
    assert_job_is_served(node)


def newer(deb: Path, folder: Path) -> Path:
    """Build a later version of a package in an empty folder: other names, the same content."""
    stage = folder / "stage"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, stage], check=True)
    control = stage / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^Version: [^+]*", "Version: 99.0", control.read_text()))
    (stage / "DEBIAN" / "md5sums").unlink()
    environments = stage / "usr" / "lib" / "spank_qrmi"
    old = (environments / "current").readlink().name
    new = f"99.0-{old.partition('-')[2]}"
    (environments / old).rename(environments / new)
    for path in stage.rglob("*"):
        if path.is_symlink():
            target = str(path.readlink())
            path.unlink()
            path.symlink_to(target.replace(old, new))
    for path in (environments / new / "bin").iterdir():
        if not path.is_symlink():
            path.write_text(path.read_text().replace(old, new))
    built = folder / f"newer_{deb.name}"
    # To compress it takes longest.
    command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", stage, built]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return built


def test_same_package_again_and_a_newer_one_in_mid_job(
    node: BootedNode, deb: Path, tmp_path: Path
) -> None:
    start_server(node)
    server, older = node.server_pid(), node.environment
    with holding_job(node):
        node.install(deb)
    assert_job_is_served(node)
    assert (node.server_pid() != server, node.environment) == (True, older)

    with holding_job(node):
        node.install(newer(deb, tmp_path))
        assert node.environment != older
    assert_job_is_served(node)
    words = node.run("cat", f"/proc/{node.server_pid()}/cmdline").stdout.split("\0")
    assert words[0] == f"{node.environment}/bin/python"
    assert not (node.root / older.relative_to("/")).exists()


def test_server_that_idles_out_in_mid_job(node: BootedNode) -> None:
    program = "from spank_qrmi.worker import server as it; it.IDLE_SECONDS = 1.0; it.main()"
    command = f'{node.environment}/bin/python -I -c "{program}"'
    text = f"[Service]\nExecStart=\nExecStart={command}\n"
    with ExitStack() as job_runs, node.drop_in(SERVER, text):
        node.run("systemctl", "stop", SERVER)
        job_runs.enter_context(holding_job(node))
        wait_until(lambda: node.server_pid() == 0, PATIENCE_SECONDS, "end of the idle server")
        assert node.property_of(SERVER, "Result") == "success"
    assert_job_is_served(node)


def test_timer_releases_what_a_killed_step_has_left(node: BootedNode) -> None:
    assert node.property_of(TIMER, "NextElapseUSecRealtime") != ""
    soon = "[Timer]\nOnCalendar=\nOnActiveSec=1ms\nAccuracySec=1ms\nRandomizedDelaySec=0\n"

    with node.running_job(QPU) as job:
        # Else it would see that the step is gone, and run the epilog.
        node.run("systemctl", "stop", "slurmd.service")
        try:
            [step] = node.run("pgrep", "-f", rf"^slurmstepd: \[{job.id}\.batch").stdout.split()
            node.run("kill", "-KILL", step)
            assert_holds_one(node)
            with node.drop_in(TIMER, soon):
                node.run("systemctl", "restart", TIMER)
                assert_released(node)
            node.run("systemctl", "restart", TIMER)
        finally:
            node.run("systemctl", "start", "slurmd.service")
    assert_service_released(node, job)


def test_release_leaves_alone_what_a_step_holds(node: BootedNode) -> None:
    # slurmstepd starts a worker of its own, which must know the same boot as the units.
    node.run("systemctl", "stop", SERVER_SOCKET)
    try:
        with holding_job(node):
            node.run("systemctl", "start", RELEASE, SERVER_SOCKET)
    finally:
        node.run("systemctl", "start", SERVER_SOCKET)


def test_boot_releases_what_a_crash_has_left(node: BootedNode) -> None:
    # Nothing of Slurm's is to have a part in it.
    node.run("systemctl", "mask", *SLURM)
    with node.running_job(QPU) as job:
        assert_holds_one(node)
        node.crash()
        assert_holds_one(node)
    try:
        node.boot()
        assert_released(node)
        assert_service_released(node, job)
    finally:
        node.run("systemctl", "unmask", *SLURM)
        node.run("systemctl", "start", *SLURM)
    # slurmctld may still believe in the job.
    node.clear()
    run_job(node)
    assert_job_is_served(node)


def test_monitor_lets_jobs_wait_where_it_is_enabled(node: BootedNode) -> None:
    """With the rights that its unit leaves it; killed, it comes back."""
    assert node.property_of(MONITOR, "UnitFileState") == "disabled"
    published = node.root / "srv" / "qpus"
    published.mkdir()
    options = f"--interval=1 --grace=5 --publish=/{published.relative_to(node.root)}"
    text = f'[Service]\nEnvironment="MONITOR_OPTIONS={options}"\nRestartSec=1\n'
    with node.drop_in(MONITOR, text):
        node.run("systemctl", "enable", "--now", MONITOR)
        try:
            node.site.set_backend_status("ibm_sherbrooke", "maintenance")
            wait_until(lambda: withheld(node), PATIENCE_SECONDS, "withheld licence")
            job = node.submit("true", QPU, "--licenses=qpu_ibm_sherbrooke")
            pid = node.property_of(MONITOR, "MainPID")
            node.run("kill", "-KILL", pid)
            node.site.set_backend_status("ibm_sherbrooke", "active")
            assert job.wait().state == "COMPLETED"
            assert not withheld(node)
            assert node.property_of(MONITOR, "MainPID") != pid
            node.run("systemctl", "restart", MONITOR)
            assert read_catalog(published).entries
        finally:
            node.run("systemctl", "disable", "--now", MONITOR)
    assert node.property_of(MONITOR, "Result") == "success"
    assert node.run("spank-qrmi", "monitor", "--release-all").stdout == ""


def withheld(node: BootedNode) -> bool:
    shown = node.run("scontrol", "show", "reservations").stdout
    return "spank_qrmi_qpu_ibm_sherbrooke" in shown


def assert_service_released(node: BootedNode, job: Job) -> None:
    def log() -> str:
        return node.run("journalctl", f"--unit={RELEASE}", "--output=cat", "--boot").stdout

    line = f"job {job.id}: ibm_sherbrooke: released"
    wait_until(log, PATIENCE_SECONDS, line, accept=lambda text: line in text.splitlines())


def test_removal_is_refused_while_a_job_holds_a_qpu(node: BootedNode) -> None:
    slurm = [node.property_of(each, "MainPID") for each in SLURM]
    with holding_job(node) as job, pytest.raises(CommandError) as refused:
        node.purge()
    assert f"job {job.id} holds ibm_sherbrooke: let the job end" in str(refused.value)
    assert f"/{PLUGSTACK}:1: loads " in str(refused.value)
    assert_job_is_served(node)
    assert [node.property_of(each, "MainPID") for each in SLURM] == slurm


def test_removal_leaves_nothing(node: BootedNode, files_before: dict[str, tuple[int, str]]) -> None:
    start_server(node)
    for name in (PLUGSTACK, CONFIGURATION):
        (node.root / name).unlink()
    node.run("systemctl", "restart", "slurmd.service")
    node.purge()

    assert traces(node) == []
    assert package_files(node) == files_before
    assert node.submit("true").wait().state == "COMPLETED"


def traces(node: BootedNode) -> list[str]:
    """Return units, processes and files that have our name."""
    named = "spank[-_]qrmi"
    units = ("--all", "--no-legend", "--plain", "spank-qrmi*")
    script = (
        f"grep -las '{named}' /proc/[0-9]*/cmdline; find / -name '*{named}*' -not -path '/proc/*'"
    )
    commands = (
        ("systemctl", "list-units", *units),
        ("systemctl", "list-unit-files", "--no-legend", "spank-qrmi*"),
        ("sh", "-c", script),
    )
    found = [node.run(*each, check=False).stdout for each in commands]
    return [line for text in found for line in text.splitlines()]
