# SPDX-License-Identifier: GPL-3.0-or-later
"""A minimal system of one release in a folder: made once, kept, copied."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clean_root.archives import Archive
from clean_root.inside import run_apart, run_inside, write_host_files
from clean_root.machine import APT_SOURCES, CERTIFICATES, apt_settings, copy_from_machine

DEBOOTSTRAP = Path("/usr/share/debootstrap")
INSTALL = """
apt-get update -qq
apt-get install -qq -y --no-install-recommends "$@"
apt-get clean
"""


class RootError(Exception):
    """A root cannot be made."""


@dataclass(frozen=True)
class Root:
    """One release's system below `folder`, with some packages and what they depend on.

    `has_machine_sources` gives it apt's sources of the machine, whose release it must be then.
    `base` is a root of the same release that it is a copy of, instead of being made from nothing.
    """

    suite: str
    archive: Archive
    folder: Path
    packages: Sequence[str]
    has_machine_sources: bool = False
    base: "Root | None" = None

    @property
    def system(self) -> Path:
        """What the commands inside see as `/`."""
        return self.folder / "system"

    def make(self, log: Path) -> None:
        """Make the system, unless an earlier run has; raise RootError or ArchiveError."""
        if self.system.exists():
            return
        if self.base is None and shutil.which("debootstrap") is None:
            raise RootError("debootstrap is missing: apt-get install debootstrap")
        # It gets its name when it is whole.
        partial = self.folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        partial.chmod(0o755)
        if self.base is None:
            self._bootstrap(partial, log)
            self._configure(partial)
        else:
            self.base.copy_to(partial)
        done = run_inside(partial, ["sh", "-ec", INSTALL, "sh", *self.packages], log=log)
        if done.returncode != 0:
            message = f"apt-get in a root of {self.suite} failed: see {log}"
            raise RootError(message)
        partial.rename(self.system)

    def copy_to(self, folder: Path) -> None:
        """Copy the system into an empty folder; raise subprocess.CalledProcessError."""
        subprocess.run(["cp", "-a", "--reflink=auto", f"{self.system}/.", str(folder)], check=True)
        write_host_files(folder)

    def _bootstrap(self, system: Path, log: Path) -> None:
        archive = self.archive
        with _scripts_with(self.suite, archive.suite_script) as scripts:
            done = run_apart(
                [
                    *("debootstrap", "--variant=minbase", "--include=ca-certificates"),
                    f"--keyring={archive.trusted_keys(self.folder)}",
                    *(f"--components={archive.components}", self.suite),
                    *(str(system), archive.mirror),
                ],
                variables={"DEBOOTSTRAP_DIR": str(scripts)},
                log=log,
            )
        if done.returncode != 0:
            message = f"debootstrap {self.suite} failed: see {log}"
            raise RootError(message)

    def _configure(self, system: Path) -> None:
        """Let apt reach the mirrors as the machine's does."""
        for name in (CERTIFICATES, *(APT_SOURCES if self.has_machine_sources else ())):
            copy_from_machine(name, system)
        settings = system / "etc" / "apt" / "apt.conf.d" / "00machine"
        # A proxy's address may hold a password.
        settings.touch(mode=0o600)
        # The index of a mirror that lags behind is too old for apt; its signature is checked.
        settings.write_text(f'Acquire::Check-Valid-Until "false";\n{apt_settings()}')


@contextmanager
def _scripts_with(suite: str, known: str) -> Iterator[Path]:
    """Yield debootstrap's folder with a script for a suite that it may be too old to know."""
    if (DEBOOTSTRAP / "scripts" / suite).exists():
        yield DEBOOTSTRAP
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "debootstrap")
        shutil.copytree(DEBOOTSTRAP, folder, symlinks=True)
        (folder / "scripts" / suite).symlink_to(known)
        yield folder
