# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages are unpacked below a folder, and nothing is installed."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.tools.programs import ended, write_program

SCRIPT = Path(__file__).parents[2] / "scripts" / "unpack_packages.sh"
# Finds packages once it has lists.
APT_GET = """
echo "$*" >>{calls}
case "$*" in
*update*) touch {lists} ;;
*) test -e {lists} && touch one_1.deb two_2.deb ;;
esac
"""
DPKG_DEB = 'mkdir -p "$3/usr/bin" && touch "$3/usr/bin/${2%%_*}"'
DOWNLOAD = "-qq -o APT::Sandbox::User=root download one two"


class Machine:
    """One with stand-ins for apt-get, dpkg-deb and id."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.calls = folder / "calls"
        self.calls.touch()
        self.lists = folder / "lists"
        self.target = folder / "unpacked"
        write_program(self.programs / "apt-get", APT_GET.format(calls=self.calls, lists=self.lists))
        write_program(self.programs / "dpkg-deb", DPKG_DEB)
        self.be(0)
        for name in ("rm", "mkdir", "touch"):
            (self.programs / name).symlink_to(f"/bin/{name}")

    def be(self, uid: int) -> None:
        write_program(self.programs / "id", f"echo {uid}")

    def run(self) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PATH": str(self.programs)}
        return ended("/bin/sh", SCRIPT, self.target, "one", "two", env=environment)

    def unpacked(self) -> list[str]:
        files = (path for path in self.target.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.target)) for path in files)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_packages_are_unpacked_and_what_was_there_goes(machine: Machine) -> None:
    machine.lists.touch()
    machine.target.mkdir()
    machine.target.joinpath("old").touch()
    done = machine.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.unpacked() == ["usr/bin/one", "usr/bin/two"]
    assert machine.calls.read_text().splitlines() == [DOWNLOAD]


def test_root_fetches_lists_that_are_missing(machine: Machine) -> None:
    assert machine.run().returncode == 0
    assert machine.unpacked() == ["usr/bin/one", "usr/bin/two"]
    assert machine.calls.read_text().splitlines() == [DOWNLOAD, "-qq update", DOWNLOAD]


def test_who_is_not_root_is_told(machine: Machine) -> None:
    machine.be(1000)
    done = machine.run()
    line = "error: apt-get finds no one two; only root can: apt-get update\n"
    assert (done.returncode, done.stderr) == (1, line)


def test_other_systems_are_told(machine: Machine) -> None:
    machine.programs.joinpath("apt-get").unlink()
    done = machine.run()
    line = "error: wanted on the PATH, by the names of Debian: one two\n"
    assert (done.returncode, done.stderr) == (1, line)
    assert not machine.target.exists()
