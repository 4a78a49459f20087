# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make dist` has made, and clean machines to try it on."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clean_root.archives import ArchiveError, own_release
from clean_root.inside import run_inside
from clean_root.root import Root, RootError

from loopback.installation import REPOSITORY, snapshot

DIST = REPOSITORY / "dist"
# What the packages depend on, and what a QPU job on loopback needs.
PACKAGES = ("munge", "python3", "rpm", "slurm-wlm")
# What is needed to boot a root, which systemd-container does, and to look at processes there.
BOOTING_PACKAGES = ("dbus", "procps", "systemd-container", "systemd-sysv")
ROOTS = REPOSITORY / "build" / "roots"
# Lists, caches and logs of the package managers.
_THEIR_OWN = ("var/lib/dpkg", "var/lib/apt", "root/.rpmdb", "var/cache", "var/log")
LOG = "var/log/spank_qrmi"


@dataclass(frozen=True)
class Machine:
    """The machine below `root`; the source folder is seen there, read only."""

    root: Path

    def run(self, *command: str) -> str:
        """Run a command there; return its stdout, or raise with what it wrote."""
        done = run_inside(self.root, command, show=[REPOSITORY], keep_tmp=True, timeout_seconds=300)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def run_qpu_job(self) -> dict[str, Any]:
        """Run a job by the line that the package's example gives; return how it ended."""
        folder = f"cd {REPOSITORY} && exec {sys.executable}"
        return dict(json.loads(self.run("sh", "-c", f"{folder} -m tests.packages.installed_job")))

    def files(self) -> dict[str, tuple[int, str]]:
        """Return all paths but the package managers' own, with mode and content."""
        mounted = REPOSITORY.relative_to("/")
        return {
            name: found
            for name, found in snapshot(self.root).items()
            if (not name.startswith(_THEIR_OWN) or name.startswith(LOG))
            and not Path(name).is_relative_to(mounted)
            and not mounted.is_relative_to(name)
        }


def make_root(packages: Sequence[str], base: Root | None = None) -> Root:
    """Make a root of this machine's own release, unless an earlier run has."""
    try:
        suite, archive = own_release()
        folder = ROOTS / "-".join([suite, *packages])
        root = Root(suite, archive, folder, packages, has_machine_sources=True, base=base)
        root.make(folder / "make.log")
    except (ArchiveError, RootError) as error:
        pytest.fail(str(error))
    return root


@pytest.fixture(scope="session")
def base_root() -> Root:
    """A root of this machine's own release, from the sources of its apt."""
    if os.geteuid() != 0:
        pytest.fail("only root can make a clean root")
    return make_root(PACKAGES)


@pytest.fixture(scope="session")
def booting_root(base_root: Root) -> Root:
    """The same with systemd."""
    return make_root((*PACKAGES, *BOOTING_PACKAGES), base_root)


@pytest.fixture
def machine(base_root: Root) -> Iterator[Machine]:
    """A clean machine of this test's own."""
    with tempfile.TemporaryDirectory(prefix="spank-qrmi-root-", dir="/tmp") as folder:
        base_root.copy_to(Path(folder))
        yield Machine(Path(folder))


def built(pattern: str) -> Path:
    [path] = DIST.glob(pattern)
    return path


@pytest.fixture(scope="session")
def deb() -> Path:
    return built("*.deb")


@pytest.fixture
def rpm() -> Path:
    return built("*.rpm")


@pytest.fixture
def wheel() -> Path:
    return built("spank_qrmi-*.whl")


@pytest.fixture
def sdist() -> Path:
    return built("*.tar.gz")
