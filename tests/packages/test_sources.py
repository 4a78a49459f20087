# SPDX-License-Identifier: GPL-3.0-or-later
"""The source distribution and the wheel, each in an environment that has nothing else."""

import hashlib
import json
import os
import re
import subprocess
import tarfile
import venv
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from loopback.installation import REPOSITORY, snapshot
from spank_qrmi import __version__
from tests.packages.conftest import DIST

LOCKED = ("--require-hashes", "--only-binary", ":all:", "--requirement")


def run(*command: object, **options: object) -> str:
    words = [str(word) for word in command]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment.pop("SOURCE_DATE_EPOCH", None)
    done = subprocess.run(
        words, check=False, capture_output=True, text=True, env=environment, **options
    )
    assert done.returncode == 0, f"{' '.join(words)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_sdist_builds_the_wheel_in_a_clean_environment(sdist: Path, wheel: Path, tmp_path: Path):
    venv.create(tmp_path / "clean", with_pip=True)

    pip = (tmp_path / "clean" / "bin" / "python", "-m", "pip", "--quiet")
    run(*pip, "install", *LOCKED, REPOSITORY / "requirements" / "build.txt")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path / "built", sdist)

    [rebuilt] = (tmp_path / "built").iterdir()
    assert rebuilt.name == wheel.name
    with zipfile.ZipFile(rebuilt) as one, zipfile.ZipFile(wheel) as other:
        assert one.namelist() == other.namelist()
        assert {name: one.read(name) for name in one.namelist()} == {
            name: other.read(name) for name in other.namelist()
        }


def test_wheel_puts_the_plugins_in_place_and_takes_them_away(wheel: Path, tmp_path: Path):
    venv.create(tmp_path / "environment", with_pip=True)
    python = tmp_path / "environment" / "bin" / "python"
    [lock] = DIST.glob("*-requirements.txt")
    run(python, "-m", "pip", "install", "--quiet", *LOCKED, lock)
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    run(python, "-m", "pip", "check")
    system = tmp_path / "system"
    system.mkdir()
    command = python.with_name("spank-qrmi")
    places = (
        *("--plugindir", system / "plugins", "--sysconfdir", system / "etc"),
        *("--prefix", system / "usr"),
    )

    run(command, "install", *places)
    link = system / "plugins" / "spank_qrmi.python"
    assert link.readlink() == python
    assert run(link.readlink(), "-I", "-c", "import spank_qrmi.worker as w; print(w.__name__)")
    assert run(system / "usr" / "sbin" / "spank-qrmi", "--version") == f"{__version__}\n"
    with zipfile.ZipFile(wheel) as archive:
        for name in ("spank_qrmi.so", "spank_ibm_qrun.so"):
            content = archive.read(f"spank_qrmi/plugin/{name}")
            assert (system / "plugins" / name).read_bytes() == content
    run(command, "uninstall")
    assert snapshot(system) == {}


def test_second_build_in_another_folder_is_the_same(sdist: Path, tmp_path: Path):
    run("tar", "--extract", "--file", sdist, "--directory", tmp_path)
    [source] = tmp_path.iterdir()

    run("make", "--no-print-directory", "dist", cwd=source)

    assert checksums(source / "dist") == checksums(DIST)


def test_rpmbuild_makes_the_rpm_from_the_sdist(sdist: Path, rpm: Path, tmp_path: Path) -> None:
    macros = {"_topdir": tmp_path, "_dbpath": tmp_path / "database"}
    defined = [word for each in macros.items() for word in ("--define", " ".join(map(str, each)))]

    run("rpmbuild", "-ta", "--quiet", *defined, sdist)

    [built] = (tmp_path / "RPMS").glob("*/*.rpm")
    [source] = (tmp_path / "SRPMS").glob("*.rpm")
    for kind in ("--requires", "--provides", "--scripts", "--dump"):
        assert without_times(run("rpm", "-qp", kind, built)) == without_times(
            run("rpm", "-qp", kind, rpm)
        )
    names = run("rpm", "-qlp", source).split()
    assert sorted(names) == ["spank-qrmi.spec", sdist.name]


def without_times(told: str) -> list[str]:
    """Return what rpm tells of a package, but for files' times and how it is compressed."""
    lines = [line for line in told.splitlines() if not line.startswith("rpmlib(")]
    return [re.sub(r"^(/\S+ \d+) \d+ ", r"\1 ", line) for line in lines]


def test_checksums_are_right():
    written = (DIST / "SHA256SUMS").read_text().splitlines()
    found = checksums(DIST)
    del found["SHA256SUMS"]
    assert written == [f"{digest}  {name}" for name, digest in found.items()]
    assert len(written) == 7


def test_bill_of_materials_lists_what_nodes_get():
    [path], [lock] = DIST.glob("*.cdx.json"), DIST.glob("*-requirements.txt")
    document = json.loads(path.read_text())
    lines = [line.rstrip(" \\") for line in lock.read_text().splitlines() if line[0] not in " #"]

    subject = document["metadata"]["component"]
    assert (subject["name"], subject["version"]) == ("spank-qrmi", __version__)
    listed = {
        f"{canonicalize_name(each['name'])}=={each['version']}" for each in document["components"]
    }
    needed = [Requirement(line) for line in lines]
    assert listed == {
        f"{each.name}{each.specifier}"
        for each in needed
        if each.marker is None or each.marker.evaluate()
    }


def test_sdist_is_the_whole_source(sdist: Path):
    names = ("setup.py", "pyproject.toml", "tests/unit/fake_host.c", "requirements/node.txt")
    with tarfile.open(sdist) as archive:
        assert {f"spank_qrmi-{__version__}/{name}" for name in names} <= {*archive.getnames()}


def checksums(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }
