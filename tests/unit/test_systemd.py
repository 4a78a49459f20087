# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd units run what `make install` installs, and one of them stands for all."""

import argparse
import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import package
from spank_qrmi.admin import command as cli

REPOSITORY = Path(__file__).parents[2]
SERVICE = REPOSITORY / "systemd" / "spank-qrmi-release.service"
TIMER = REPOSITORY / "systemd" / "spank-qrmi-release.timer"
WORKER_SERVER = REPOSITORY / "systemd" / "spank-qrmi-worker-server.service"
WORKER_SERVER_SOCKET = REPOSITORY / "systemd" / "spank-qrmi-worker-server.socket"
MONITOR = REPOSITORY / "systemd" / "spank-qrmi-monitor.service"
TARGET = REPOSITORY / "systemd" / "spank-qrmi.target"
UNITS = sorted(TARGET.parent.iterdir())
# In the plugin, where it is asked unless plugstack.conf names another one.
QUESTION = REPOSITORY / "spank_qrmi" / "plugin" / "question.pxd"


def settings_of(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path)
    return parser


def test_target_is_the_one_unit_to_enable_on_compute_nodes() -> None:
    """The monitor is for one node of all, and nothing brings it along."""
    to_enable = {path for path in UNITS if settings_of(path).has_section("Install")}
    assert to_enable == {TARGET, MONITOR}
    assert {settings_of(path)["Install"]["WantedBy"] for path in to_enable} == {"multi-user.target"}
    wanted = settings_of(TARGET)["Unit"]["Wants"].split()
    assert sorted(wanted) == sorted(
        path.name for path in UNITS if path not in (TARGET, MONITOR, WORKER_SERVER)
    )


def test_target_that_stops_stops_what_would_start_again() -> None:
    """A release under way is left alone: it takes a minute at most."""
    parts = {path for path in UNITS if "PartOf" in settings_of(path)["Unit"]}
    assert parts == {TIMER, WORKER_SERVER_SOCKET}
    assert {settings_of(path)["Unit"]["PartOf"] for path in parts} == {TARGET.name}
    # That socket's end is the server's, which waits for its workers.
    assert settings_of(WORKER_SERVER)["Unit"]["Requires"] == WORKER_SERVER_SOCKET.name


def test_packages_name_the_units() -> None:
    names = (TARGET.name, WORKER_SERVER.name, MONITOR.name)
    assert names == (package.TARGET, package.WORKER_SERVER, package.MONITOR)


def options_of(path: Path) -> argparse.Namespace:
    """Return what a service asks of the command, whose folder is the installation's to name."""
    program, *arguments = shlex.split(settings_of(path)["Service"]["ExecStart"])
    assert program == "@SBINDIR@/spank-qrmi"
    return cli._parser().parse_args([each for each in arguments if each != "$MONITOR_OPTIONS"])


def test_service_runs_the_command() -> None:
    options = options_of(SERVICE)
    # What plugstack.conf says is not said again.
    assert (options.orphaned, options.state_dir, options.plugstack) == (True, None, None)
    assert options.timeout < int(settings_of(SERVICE)["Service"]["TimeoutStartSec"])


def test_timer_starts_the_service_of_its_name() -> None:
    assert TIMER.stem == SERVICE.stem
    assert "Unit" not in settings_of(TIMER)["Timer"]


def test_services_have_the_rights_that_they_need() -> None:
    """A certificate, or slurm.conf, may be in a folder that is SlurmUser's alone.

    The monitor looks at no other process, as the others do to know which steps live.
    """
    rights = ["CAP_DAC_READ_SEARCH", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"]
    for path, expected in (
        *((each, [*rights, "CAP_SYS_PTRACE"]) for each in (SERVICE, WORKER_SERVER)),
        (MONITOR, rights),
    ):
        assert settings_of(path)["Service"]["CapabilityBoundingSet"].split() == expected, path


def test_monitor_is_the_command_and_goes_on() -> None:
    service = settings_of(MONITOR)["Service"]
    found = options_of(MONITOR)
    assert found.run is cli._monitor
    assert service["Environment"] == "MONITOR_OPTIONS="
    assert service["ExecStart"].endswith(" $MONITOR_OPTIONS")
    assert not any((found.once, found.release_all, found.print_licenses, found.publish))
    assert service["Restart"] == "always"
    assert settings_of(MONITOR)["Unit"]["StartLimitIntervalSec"] == "0"


def test_services_may_write_wherever_plugstack_conf_puts_the_journal() -> None:
    """With `strict`, jobs fail whose folder the unit does not name, or that was made anew."""
    for path in (SERVICE, WORKER_SERVER, MONITOR):
        service = settings_of(path)["Service"]
        assert service["ProtectSystem"] == "full", path
        assert not {"ReadWritePaths", "StateDirectory", "ProtectHome"} & set(service), path


def test_worker_server_is_the_command_and_serves_jobs_as_slurmd_would() -> None:
    assert options_of(WORKER_SERVER).run is cli._become_worker_server
    service = settings_of(WORKER_SERVER)["Service"]
    # With `mixed`, systemd kills its workers as soon as it has ended, however that was.
    assert (service["KillMode"], service["OOMPolicy"]) == ("process", "continue")
    assert service["TasksMax"] == "infinity"
    # The node's name of today is part of what an entry belongs to: that keeps the one of the start.
    assert "ProtectHostname" not in service


def test_socket_of_the_worker_server_is_roots_alone_and_where_plugins_ask() -> None:
    settings = settings_of(WORKER_SERVER_SOCKET)["Socket"]
    assert WORKER_SERVER_SOCKET.stem == WORKER_SERVER.stem
    assert (settings["SocketMode"], settings["DirectoryMode"]) == ("0600", "0700")
    path = settings["ListenSequentialPacket"]
    assert f'*path = b"{path}"' in QUESTION.read_text()
    for document in ("docs/administration.md", "docs/install.md"):
        assert f"`{path}`" in (REPOSITORY / document).read_text()


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    for path in UNITS:
        # It wants the program to be there.
        text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", path.read_text())
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *sorted(map(str, tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
