# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock files hold what pyproject.toml asks for, with hashes, and tell nothing else."""

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.lock import FOLDER, LOCKS, PYTHONS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
# What pyproject.toml asks for, by the lock file that must hold it.
WANTED = {
    "node": [*PROJECT["project"]["dependencies"], *EXTRAS["metrics"], *EXTRAS["qrun"]],
    **PROJECT["dependency-groups"],
}
ENTRY = re.compile(
    r"(?P<requirement>\S+==[^\\]+?)(?P<hashes>( \\\n +--hash=sha256:[0-9a-f]{64})+)\n"
)


def read_lock(name: str) -> str:
    return (REPOSITORY / FOLDER / f"{name}.txt").read_text()


def pins(name: str, python: str | None = None) -> dict[str, str]:
    """Return the versions of a lock file for a Python such as 3.10, or for this one."""
    marked = None if python is None else {"python_version": python, "python_full_version": python}
    found: dict[str, str] = {}
    for entry in ENTRY.finditer(read_lock(name)):
        requirement = Requirement(entry["requirement"])
        if requirement.marker is None or requirement.marker.evaluate(marked):
            package = canonicalize_name(requirement.name)
            assert package not in found, f"two versions of {package} for Python {python}"
            found[package] = str(requirement.specifier).removeprefix("==")
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_lock_has_nothing_but_versions_and_hashes(name: str):
    text = ENTRY.sub("", read_lock(name))
    assert [line for line in text.splitlines() if not line.lstrip().startswith("#")] == []
    assert "://" not in read_lock(name)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCKS)
def test_lock_holds_what_the_project_asks_for(name: str, python: str):
    locked = pins(name, python)
    for requirement in map(Requirement, WANTED[name]):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: {version} is locked"


def test_every_part_has_its_lock():
    assert {path.stem for path in (REPOSITORY / FOLDER).iterdir()} == {*LOCKS} == {*WANTED}


def test_release_is_built_with_what_the_project_builds_with():
    assert {*PROJECT["build-system"]["requires"]} <= {*WANTED["build"]}


def test_lock_of_nodes_is_complete_and_is_what_is_tested():
    locked = pins("node")
    assert {name: importlib.metadata.version(name) for name in locked} == locked
    for name in locked:
        for requirement in map(Requirement, importlib.metadata.requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                version = locked[canonicalize_name(requirement.name)]
                assert requirement.specifier.contains(version), f"{name} needs {requirement}"
