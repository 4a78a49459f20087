# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Slurm comes from others' packages, nothing of ours removes, replaces or changes them.

The packages here stand in for them: their names and relations, a few files.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from loopback.installation import REPOSITORY
from tests.packages.conftest import Machine

SMD = [f"slurm-smd{each}" for each in ("", "-client", "-dev", "-slurmctld", "-slurmd")]
APT = ("apt-get", "-y", "--no-install-recommends")
HEADERS = Path("/usr/include/slurm")
VERSION = "22.05.9"
PROGRAM = f"#!/bin/sh\necho slurm {VERSION}\n"
DEBIANS = "slurm-client, slurmd, slurmctld, slurmdbd, slurm-wlm-basic-plugins, libslurm-dev"


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


def build_smd(folder: Path, headers: Path) -> list[Path]:
    """Build SchedMD's Debian packages of a controller that is a node too, with these headers."""
    programs = {
        "slurm-smd": (),
        "slurm-smd-client": ("usr/bin/srun", "usr/bin/sbatch"),
        "slurm-smd-slurmd": ("usr/sbin/slurmd",),
        "slurm-smd-slurmctld": ("usr/sbin/slurmctld",),
    }
    built = [_deb(folder, name, dict.fromkeys(paths, PROGRAM)) for name, paths in programs.items()]
    texts = {f"usr/include/slurm/{path.name}": path.read_text() for path in headers.glob("*.h")}
    return [*built, _deb(folder, "slurm-smd-dev", texts)]


def build_ohpc(folder: Path) -> Path:
    """Build one rpm for all of OpenHPC's Slurm, with a folder that is not as others make it."""
    files = {"usr/sbin/slurmd": PROGRAM, "etc/slurm/slurm.conf": "ClusterName=ohpc\n"}
    return _rpm(folder, "slurm-ohpc", files, ["%dir %attr(0750, slurm, slurm) /etc/slurm"], [])


def build_system(folder: Path, requires: Iterable[str]) -> Path:
    """Build an rpm that has what a system without Slurm provides to a package of ours."""
    provides = [each for each in requires if not re.match(r"rpmlib|config\(|.*slurm", each)]
    return _rpm(folder, "system", {}, [], provides)


def _deb(folder: Path, name: str, files: Mapping[str, str]) -> Path:
    stage = folder / name
    _write(stage, files)
    (stage / "DEBIAN").mkdir(parents=True)
    (stage / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: {VERSION}-1\nArchitecture: all\n"
        f"Maintainer: stand-in <root@localhost>\nConflicts: {DEBIANS}\n"
        f"Description: stands in for {name}\n"
    )
    path = folder / f"{name}.deb"
    _run("dpkg-deb", "--root-owner-group", "-Znone", "--build", stage, path)
    return path


def _rpm(
    folder: Path, name: str, files: Mapping[str, str], listed: list[str], provides: list[str]
) -> Path:
    _write(folder / name, files)
    spec = folder / f"{name}.spec"
    lines = [
        *(f"Name: {name}", f"Version: {VERSION}", "Release: 1", f"Summary: stands in for {name}"),
        *("License: none", "BuildArch: noarch", "AutoReqProv: no"),
        *(f"Provides: {each}" for each in provides),
        *("%description", "A stand-in.", "%install", "mkdir -p %{buildroot}"),
        f"if [ -d {folder / name} ]; then cp -a {folder / name}/. %{{buildroot}}/; fi",
        *("%files", *listed, *(f"/{path}" for path in files)),
    ]
    spec.write_text("".join(f"{line}\n" for line in lines))
    macros = {"_topdir": folder / "rpm", "_rpmdir": folder / name / "built", "_dbpath": folder}
    defined = [word for each in macros.items() for word in ("--define", " ".join(map(str, each)))]
    _run("rpmbuild", "-bb", "--quiet", "--define", "__os_install_post %{nil}", *defined, spec)
    [path] = (folder / name / "built").glob("*/*.rpm")
    return path


def _write(stage: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = stage / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text == PROGRAM else 0o644)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
