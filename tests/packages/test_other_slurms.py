# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Slurm comes from others' packages, nothing of ours removes, replaces or changes them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from loopback.installation import REPOSITORY
from tests.packages.machine import Machine
from tests.packages.stand_ins import build_ohpc, build_smd, build_system

SMD = [f"slurm-smd{each}" for each in ("", "-client", "-dev", "-slurmctld", "-slurmd")]
APT = ("apt-get", "-y", "--no-install-recommends")
HEADERS = Path("/usr/include/slurm")


def bring(machine: Machine, *paths: Path) -> list[str]:
    """Copy files to the machine; return their places there."""
    places = []
    for path in paths:
        shutil.copy(path, machine.root / "root" / path.name)
        places.append(f"/root/{path.name}")
    return places


@pytest.fixture
def smd_machine(machine: Machine, tmp_path: Path) -> Machine:
    """A machine whose Slurm is SchedMD's."""
    if not HEADERS.is_dir():
        pytest.skip("Slurm's headers are not in the compiler's own folder")
    machine.run(*APT, "purge", "--autoremove", "slurm*", "libslurm*")
    etc = machine.root / "etc" / "slurm"
    etc.mkdir(exist_ok=True)
    (etc / "slurm.conf").write_text("ClusterName=smd\n")
    machine.run("dpkg", "--install", *bring(machine, *build_smd(tmp_path, HEADERS)))
    return machine


def packages(machine: Machine) -> dict[str, str]:
    """Return all that dpkg has installed, with versions."""
    listed = machine.run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\\n")
    lines = [line.split() for line in listed.splitlines()]
    return {name: version for status, name, version in lines if status == "installed"}


def owners(machine: Machine, *names: str) -> list[tuple[int, int, int]]:
    """Return mode, user and group of folders."""
    found = [(machine.root / name).stat() for name in names]
    return [(each.st_mode, each.st_uid, each.st_gid) for each in found]


def test_deb_comes_and_goes_beside_schedmds_slurm(smd_machine: Machine, deb: Path) -> None:
    machine = smd_machine
    machine.run("sh", "-c", "groupadd -f hpc && chgrp hpc /etc/slurm && chmod 2751 /etc/slurm")
    before, files = packages(machine), machine.files()
    folders = ("etc/slurm", "usr/lib", "usr/sbin")
    modes = owners(machine, *folders)
    assert {*SMD} <= {*before}

    # With what apt installs beside it by default.
    machine.run("apt-get", "install", "-y", str(deb))
    installed = packages(machine)
    assert installed.pop("spank-qrmi")
    assert installed == before
    assert owners(machine, *folders) == modes
    machine.run(*APT, "purge", "spank-qrmi")

    assert packages(machine) == before
    assert machine.files() == files
    assert owners(machine, *folders) == modes


def test_deps_take_nothing_away_from_schedmds_slurm(smd_machine: Machine) -> None:
    before = packages(smd_machine)

    # Its headers are there, under another package's name.
    wanted = ("gcc", "libc6-dev", "libslurm-dev", "python3-dev", "python3-venv")
    said = smd_machine.run("sh", f"{REPOSITORY}/scripts/install_missing.sh", *wanted)

    assert said.startswith("installing with apt-get, which is to remove nothing:\n")
    assert "libslurm-dev" not in said
    after = packages(smd_machine)
    assert {"gcc", "python3-dev", "python3-venv"} <= {*after}
    assert {name: after.get(name) for name in SMD} == {name: before[name] for name in SMD}
    assert {*before} <= {*after}


def test_rpm_comes_and_goes_beside_openhpcs_slurm(
    machine: Machine, rpm: Path, tmp_path: Path
) -> None:
    listed = subprocess.run(
        ["rpm", "-qp", "--requires", rpm], check=True, capture_output=True, text=True
    ).stdout
    stand_ins = [build_ohpc(tmp_path), build_system(tmp_path, listed.splitlines())]
    machine.run("rpm", "--install", *bring(machine, *stand_ins))
    before = machine.files()
    folders = ("etc/slurm", "etc/slurm/plugstack.conf.d", "usr/sbin", "usr/lib")
    modes = owners(machine, *folders)
    assert oct(modes[0][0]) == "0o40750"
    assert modes[0][1] != 0

    machine.run("rpm", "--install", str(rpm))
    assert owners(machine, *folders) == modes
    assert machine.run("rpm", "--verify", "slurm-ohpc") == ""
    owner = machine.run("rpm", "-qf", "/etc/slurm", "/usr/sbin/slurmd")
    assert "spank" not in owner
    machine.run("rpm", "--erase", "spank-qrmi")

    after = machine.files()
    # It was Slurm's to make, and rpm has made it for a file.
    after.pop("usr/lib64/slurm", None)
    assert after == before
    assert owners(machine, *folders) == modes
