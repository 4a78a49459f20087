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

from loopback.installation import REPOSITORY
from scripts.package import MONITOR, TARGET, WORKER_SERVER
from spank_qrmi.admin import command as cli

RELEASE = "spank-qrmi-release.service"
TIMER = "spank-qrmi-release.timer"
SOCKET = "spank-qrmi-worker-server.socket"


def settings_of(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path)
    return parser


UNITS = {path.name: settings_of(path) for path in (REPOSITORY / "systemd").iterdir()}


def test_target_is_the_one_unit_to_enable_on_compute_nodes() -> None:
    """The monitor is for one node of all, and nothing brings it along."""
    installed = {name: dict(unit["Install"]) for name, unit in UNITS.items() if "Install" in unit}
    assert installed == {name: {"WantedBy": "multi-user.target"} for name in (TARGET, MONITOR)}
    wanted = UNITS[TARGET]["Unit"]["Wants"].split()
    assert sorted(wanted) == sorted(UNITS.keys() - {TARGET, MONITOR, WORKER_SERVER})


def test_target_that_stops_stops_what_would_start_again() -> None:
    """A release under way is left alone: it takes a minute at most."""
    parts = {name: unit["Unit"].get("PartOf") for name, unit in UNITS.items()}
    assert parts == {**dict.fromkeys(UNITS), TIMER: TARGET, SOCKET: TARGET}
    # That socket's end is the server's, which waits for its workers.
    assert UNITS[WORKER_SERVER]["Unit"]["Requires"] == SOCKET


def options_of(service: str) -> argparse.Namespace:
    """Return what a service asks of the command, whose folder is the installation's to name."""
    program, *arguments = shlex.split(UNITS[service]["Service"]["ExecStart"])
    assert program == "@SBINDIR@/spank-qrmi"
    return cli._parser().parse_args([each for each in arguments if each != "$MONITOR_OPTIONS"])


def test_timer_has_the_command_release() -> None:
    options = options_of(RELEASE)
    # What plugstack.conf says is not said again.
    assert (options.orphaned, options.state_dir, options.plugstack) == (True, None, None)
    assert options.timeout < int(UNITS[RELEASE]["Service"]["TimeoutStartSec"])
    # It starts the service of its name.
    assert "Unit" not in UNITS[TIMER]["Timer"]


def test_services_have_the_rights_that_they_need() -> None:
    """A certificate, or slurm.conf, may be in a folder that is SlurmUser's alone.

    The monitor looks at no other process, as the others do to know which steps live. With a
    `strict` system, jobs fail whose folder plugstack.conf names, or that was made anew.
    """
    rights = ["CAP_DAC_READ_SEARCH", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"]
    all_rights = [*rights, "CAP_SYS_PTRACE"]
    for name, expected in ((RELEASE, all_rights), (WORKER_SERVER, all_rights), (MONITOR, rights)):
        service = UNITS[name]["Service"]
        assert service["CapabilityBoundingSet"].split() == expected, name
        assert service["ProtectSystem"] == "full", name
        assert not {"ReadWritePaths", "StateDirectory", "ProtectHome"} & set(service), name


def test_monitor_is_the_command_and_goes_on() -> None:
    service = UNITS[MONITOR]["Service"]
    found = options_of(MONITOR)
    assert found.run is cli._monitor
    assert service["Environment"] == "MONITOR_OPTIONS="
    assert service["ExecStart"].endswith(" $MONITOR_OPTIONS")
    assert not any((found.once, found.release_all, found.print_licenses, found.publish))
    assert service["Restart"] == "always"
    assert UNITS[MONITOR]["Unit"]["StartLimitIntervalSec"] == "0"


def test_worker_server_is_the_command_and_serves_jobs_as_slurmd_would() -> None:
    assert options_of(WORKER_SERVER).run is cli._become_worker_server
    service = UNITS[WORKER_SERVER]["Service"]
    # With `mixed`, systemd kills its workers as soon as it has ended, however that was.
    assert (service["KillMode"], service["OOMPolicy"]) == ("process", "continue")
    assert service["TasksMax"] == "infinity"
    # The node's name of today is part of what an entry belongs to: that keeps the one of the start.
    assert "ProtectHostname" not in service


def test_socket_of_the_worker_server_is_roots_alone_and_where_plugins_ask() -> None:
    settings = UNITS[SOCKET]["Socket"]
    assert (settings["SocketMode"], settings["DirectoryMode"]) == ("0600", "0700")
    path = settings["ListenSequentialPacket"]
    # In the plugin, where it is asked unless plugstack.conf names another one.
    question = REPOSITORY / "spank_qrmi" / "plugin" / "question.pxd"
    assert f'*path = b"{path}"' in question.read_text()
    for document in ("docs/administration.md", "docs/install.md"):
        assert f"`{path}`" in (REPOSITORY / document).read_text()


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    for path in (REPOSITORY / "systemd").iterdir():
        # It wants the program to be there.
        text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", path.read_text())
        (tmp_path / path.name).write_text(text)
    command = ["systemd-analyze", "verify", *sorted(map(str, tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
