# SPDX-License-Identifier: GPL-3.0-or-later
"""The product as an administrator installs it, in a folder of its own."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from loopback.errors import CommandError

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Installation:
    """What `make install` writes below one folder, which belongs to nobody else."""

    folder: Path

    @property
    def environment(self) -> Path:
        """The virtual environment with the worker that new jobs use."""
        return self.environments / (self.environments / "current").readlink()

    @property
    def environments(self) -> Path:
        """The folder with that environment and the one before it."""
        return self.folder / "usr" / "lib" / "spank_qrmi"

    @property
    def plugin_directory(self) -> Path:
        """Where Slurm finds the plugins."""
        return self.folder / "lib64" / "slurm"

    @property
    def plugin(self) -> Path:
        """The plugin that plugstack.conf names."""
        return self.plugin_directory / "spank_qrmi.so"

    @property
    def qrun_plugin(self) -> Path:
        """The plugin that makes jobs ready for the command `qrun`."""
        return self.plugin_directory / "spank_ibm_qrun.so"

    @property
    def command_directory(self) -> Path:
        """Where users find the commands."""
        return self.folder / "usr" / "bin"

    @property
    def interpreter_link(self) -> Path:
        """The link by which the plugin finds its worker."""
        return self.plugin_directory / "spank_qrmi.python"

    def make(self, target: str, **variables: str) -> str:
        """Run make as an administrator does; return what it printed or raise CommandError."""
        # A make that runs the tests must not lend its job slots to this one.
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("MAKE")
        }
        command = [
            *("make", "--no-print-directory", target, "DESTDIR=/"),
            f"PREFIX={self.folder / 'usr'}",
            f"PLUGINDIR={self.plugin_directory}",
            f"SYSCONFDIR={self.folder / 'etc'}",
            *(f"{name}={value}" for name, value in variables.items()),
        ]
        (REPOSITORY / "build").mkdir(exist_ok=True)
        with (REPOSITORY / "build" / "make.lock").open("w") as lock:
            # What is not built yet must not be built by two at once.
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = subprocess.run(
                command,
                cwd=REPOSITORY,
                env=environment,
                check=False,
                capture_output=True,
                text=True,
            )
        if done.returncode != 0:
            message = f"make {target} failed:\n{done.stdout}{done.stderr}"
            raise CommandError(message)
        return done.stdout

    def copy_plugin(self, folder: Path, interpreter: Path | None) -> Path:
        """Copy the plugin into a folder, with a link to another worker beside it, or with none."""
        folder.mkdir()
        if interpreter is not None:
            (folder / self.interpreter_link.name).symlink_to(interpreter)
        return Path(shutil.copy(self.plugin, folder))


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Return every path below a folder with its mode and its content, for a comparison."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, _content(path))
        for path in sorted(folder.rglob("*"))
    }


def _content(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    return "" if not path.is_file() else hashlib.sha256(path.read_bytes()).hexdigest()
