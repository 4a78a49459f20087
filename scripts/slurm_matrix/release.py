# SPDX-License-Identifier: GPL-3.0-or-later
"""`make release`: what a release consists of, for the Slurm of each system, from one commit.

In its folder lie what is the same for all, and the notes; in a folder for each system, such as
`bookworm-slurm22.05`, what is for its Slurm and Python.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import step
from clean_root.archives import RELEASES, ArchiveError
from clean_root.root import Root, RootError

from slurm_matrix.__main__ import PACKAGES, REPOSITORY, System
from spank_qrmi import __version__

NOTES = "NOTES.md"
# Of one system's files; `make release` writes those of all.
CHECKSUMS = "SHA256SUMS"
BUILD = """
cd "$SOURCES"
make dist
"""
# The first system's stand for all.
FOR_ALL = ("*.tar.gz", "spank_qrmi_simulator-*.whl", "*-requirements.txt")
SLURM_OF_DEB = re.compile(r"\+slurm([\d.]+)_")


class ReleaseError(Exception):
    """What is here cannot be released."""


def main() -> int:
    """Build all of it; return 0, or 1 after one line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="slurm_matrix.release", description=__doc__)
    parser.add_argument("releases", nargs="+", choices=RELEASES, metavar="RELEASE")
    parser.add_argument("--cache", type=Path, required=True, help="the folder of the roots")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--check", action="store_true", help="build nothing")
    options = parser.parse_args()
    try:
        notes = notes_of((REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), __version__)
        check_commit(REPOSITORY, __version__)
        if not options.check:
            build(options.releases, options.cache.resolve(), options.output, notes)
    except (ArchiveError, ReleaseError, RootError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def notes_of(changelog: str, version: str) -> str:
    """Return the section of a version, without its heading; raise ReleaseError."""
    heading = rf"^## \[{re.escape(version)}\][^\n]*\n"
    found = re.search(rf"{heading}(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None or not found[1].strip():
        message = (
            f"CHANGELOG.md says nothing of {version}: write its section, ## [{version}] - DATE"
        )
        raise ReleaseError(message)
    return f"{found[1].strip()}\n"


def check_commit(repository: Path, version: str) -> None:
    """Raise ReleaseError unless all is committed, and its tag, if it has one, is the version's."""
    changed = _git(repository, "status", "--porcelain")
    if changed:
        message = f"what is released is a commit, but these files differ from it:\n{changed}"
        raise ReleaseError(message)
    tags = _git(repository, "tag", "--points-at", "HEAD", "v*").split()
    if tags and f"v{version}" not in tags:
        message = f"the version is {version} (spank_qrmi/__init__.py), the tag {' '.join(tags)}"
        raise ReleaseError(message)


def _git(repository: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=repository, check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        message = f"git {words[0]} failed: {done.stderr.strip()}"
        raise ReleaseError(message)
    return done.stdout.rstrip()


def build(suites: Sequence[str], cache: Path, output: Path, notes: str) -> None:
    """Build for all systems; raise ReleaseError, RootError or ArchiveError."""
    if os.geteuid() != 0:
        raise ReleaseError("make release needs root: it makes a root of each system")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    for suite in suites:
        root = Root(suite, RELEASES[suite], cache / suite, PACKAGES)
        print(f"building for {suite}: log in {root.folder}/logs/{suite}-release.log", flush=True)
        started = time.monotonic()
        folder = collect(suite, build_in(System(f"{suite}-release", root, ())), output)
        print(f"{folder}: {time.monotonic() - started:.0f} s", flush=True)
    output.joinpath(NOTES).write_text(notes, encoding="utf-8")


def build_in(system: System) -> Path:
    """Build in a root; return the folder with the results, or raise as `build` does."""
    system.prepare()
    if system.run(BUILD, SOURCE_DATE_EPOCH=os.environ["SOURCE_DATE_EPOCH"]) != 0:
        print("\n".join(step.last_lines(system.log, step.LAST_LINES)), file=sys.stderr)
        message = f"{system.name}: the build failed; all of it is in {system.log}"
        raise ReleaseError(message)
    return system.sources / "dist"


def collect(suite: str, built: Path, output: Path) -> Path:
    """Copy what was built to its place in the release; return the system's folder."""
    [deb] = built.glob("*.deb")
    [slurm_release] = SLURM_OF_DEB.findall(deb.name)
    folder = output / f"{suite}-slurm{slurm_release}"
    folder.mkdir()
    for path in sorted(built.iterdir()):
        if path.name == CHECKSUMS:
            continue
        is_for_all = any(path.match(pattern) for pattern in FOR_ALL)
        target = (output if is_for_all else folder) / path.name
        if not target.exists():
            shutil.copy(path, target)
    return folder


if __name__ == "__main__":
    sys.exit(main())
