# SPDX-License-Identifier: GPL-3.0-or-later
"""`make release` takes a commit that says what is new in it, and puts each file in its place."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from slurm_matrix import release

from loopback.installation import REPOSITORY
from tests.unit.outcomes import refusal_of

CHANGELOG = """# Changelog

## [Unreleased]

## [1.0.0] - 2026-12-01

### Added

- A plugin.

## [0.9.0] - 2026-11-01

- Older.
"""


def test_notes_are_the_section_of_the_version_without_which_it_is_not_released() -> None:
    assert release.notes_of(CHANGELOG, "1.0.0") == "### Added\n\n- A plugin.\n"
    assert release.notes_of(CHANGELOG, "0.9.0") == "- Older.\n"
    for version in ("1.0", "1x0.0", "2.0.0", "Unreleased"):
        told = f"CHANGELOG.md says nothing of {version}: write its section, ## [{version}] - DATE"
        assert refusal_of(release.ReleaseError, release.notes_of, CHANGELOG, version) == told


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=one", "-c", "user.email=one@localhost", "-c", "tag.gpgsign=false")
    subprocess.run(["git", *identity, *words], cwd=folder, check=True)


def test_what_is_released_is_a_commit_with_the_tag_of_its_version(tmp_path: Path) -> None:
    def refusal() -> str:
        return refusal_of(release.ReleaseError, release.check_commit, tmp_path, "1.0.0") or ""

    assert refusal().startswith("git status failed: ")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message=One")
    assert refusal() == ""
    git(tmp_path, "tag", "v0.9.0")
    assert refusal().endswith("is 1.0.0 (spank_qrmi/__init__.py), the tag v0.9.0")
    git(tmp_path, "tag", "v1.0.0")
    assert refusal() == ""
    (tmp_path / "new").write_text("")
    assert refusal().endswith("these files differ from it:\n?? new")


FOR_ALL = (
    *("spank_qrmi-1.0.0-requirements.txt", "spank_qrmi-1.0.0.tar.gz"),
    "spank_qrmi_simulator-1.0.0-py3-none-any.whl",
)


def names_for(slurm_release: str) -> tuple[str, ...]:
    return (
        f"spank-qrmi_1.0.0+slurm{slurm_release}_amd64.deb",
        f"spank-qrmi-1.0.0-1.slurm{slurm_release}.x86_64.rpm",
        *("spank_qrmi-1.0.0-py3-none-linux_x86_64.whl", "spank_qrmi-1.0.0.cdx.json"),
    )


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_each_slurm_has_a_folder_beside_what_is_for_all(tmp_path: Path) -> None:
    output = tmp_path / "dist"
    output.mkdir()
    folders = []
    for suite, slurm_release in (("bookworm", "22.05"), ("trixie", "24.11")):
        built = tmp_path / suite
        built.mkdir()
        for name in (*names_for(slurm_release), *FOR_ALL, "SHA256SUMS"):
            (built / name).write_text(slurm_release)
        folders.append(release.collect(suite, built, output))
    assert {folder.name: contents(folder) for folder in folders} == {
        "bookworm-slurm22.05": dict.fromkeys(names_for("22.05"), "22.05"),
        "trixie-slurm24.11": dict.fromkeys(names_for("24.11"), "24.11"),
    }
    assert contents(output) == dict.fromkeys(FOR_ALL, "22.05")


def test_without_root_nothing_of_a_former_release_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "file").write_text("")
    with pytest.raises(release.ReleaseError):
        release.build(["bookworm"], tmp_path, tmp_path, "notes")
    assert (tmp_path / "file").exists()


def test_workflow_releases_for_all_systems_that_are_tested() -> None:
    workflows = REPOSITORY / ".github" / "workflows"
    [tested] = re.findall(r" release: \[(.*)\]\n", (workflows / "ci.yml").read_text())
    [released] = re.findall(r'make release MATRIX="(.*)"', (workflows / "release.yml").read_text())
    assert released.split() == tested.split(", ")
    assert {*released.split()} == {*release.RELEASES}
