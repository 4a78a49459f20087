# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages that stand in for others' packaging of Slurm: their names and relations, a few files."""

import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

VERSION = "22.05.9"
PROGRAM = f"#!/bin/sh\necho slurm {VERSION}\n"
DEBIANS = "slurm-client, slurmd, slurmctld, slurmdbd, slurm-wlm-basic-plugins, libslurm-dev"


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
