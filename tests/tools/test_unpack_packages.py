# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages are unpacked below a folder, and nothing is installed."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.tools.programs import ended, write_program

SCRIPT = Path(__file__).parents[2] / "scripts" / "unpack_packages.sh"
DOWNLOAD = "-qq -o APT::Sandbox::User=root download one two"


class Machine:
    """One with stand-ins for apt-get, which finds packages once it has lists, dpkg-deb and id."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "bin"
        self.calls = folder / "calls"
        self.target = folder / "unpacked"
        lists = folder / "lists"
        self.add(
            "apt-get",
            f'echo "$*" >>{self.calls}\ncase "$*" in *update*) touch {lists} ;; '
            f"*) test -e {lists} && touch one_1.deb two_2.deb ;; esac",
        )
        self.add("dpkg-deb", 'mkdir -p "$3/usr/bin" && touch "$3/usr/bin/${2%%_*}"')
        self.add("id", "echo 0")
        for name in ("rm", "mkdir", "touch"):
            (self.programs / name).symlink_to(f"/bin/{name}")

    def add(self, name: str, script: str) -> None:
        write_program(self.programs / name, script)

    def run(self) -> subprocess.CompletedProcess[str]:
        """Unpack two packages, and forget the calls of before."""
        self.calls.write_text("")
        environment = os.environ | {"PATH": str(self.programs)}
        return ended("/bin/sh", SCRIPT, self.target, "one", "two", env=environment)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_packages_are_unpacked_and_what_was_there_goes(machine: Machine) -> None:
    """Root fetches lists that are missing, the first time."""
    for calls in ([DOWNLOAD, "-qq update", DOWNLOAD], [DOWNLOAD]):
        machine.target.mkdir(exist_ok=True)
        machine.target.joinpath("old").touch()
        done = machine.run()
        assert (done.returncode, done.stderr) == (0, "")
        files = [path for path in machine.target.rglob("*") if path.is_file()]
        assert sorted(files) == [machine.target / "usr/bin" / name for name in ("one", "two")]
        assert machine.calls.read_text().splitlines() == calls


def test_who_is_not_root_is_told(machine: Machine) -> None:
    machine.add("id", "echo 1000")
    done = machine.run()
    line = "error: apt-get finds no one two; only root can: apt-get update\n"
    assert (done.returncode, done.stderr) == (1, line)


def test_other_systems_are_told(machine: Machine) -> None:
    machine.programs.joinpath("apt-get").unlink()
    done = machine.run()
    line = "error: wanted on the PATH, by the names of Debian: one two\n"
    assert (done.returncode, done.stderr) == (1, line)
    assert not machine.target.exists()
