# SPDX-License-Identifier: GPL-3.0-or-later
"""What every measurement runs on: our plugin as installed, the empty one, clusters and the site."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.crowded_site import BACKENDS
from benchmarks.memory import Workers
from loopback.installation import Installation
from loopback.site import Site
from loopback.socket_unit import SocketUnit

SOURCES = Path(__file__).parent
NONE, EMPTY, OURS = VARIANTS = ("none", "empty", "ours")
"""What plugstack.conf lists: nothing, the empty C plugin, or ours."""
OPTION, QRUN = "option", "qrun"
"""A C plugin with our option and log lines, and our plugin for qrun."""
BY_DEFAULT, SPAWNED = "by default", "spawned"
"""Where a QPU job's worker comes from: a worker server, which has one ready, or slurmstepd."""


@dataclass(frozen=True)
class Testbed:
    """Plugins and programs, ready to be loaded and run; `folder` takes clusters and journals."""

    folder: Path
    installation: Installation
    empty_plugin: Path
    option_plugin: Path
    dlopen_time: Path

    def plugin(self, variant: str) -> Path:
        """Return the plugin of a variant that has one."""
        return {
            EMPTY: self.empty_plugin,
            OPTION: self.option_plugin,
            OURS: self.installation.plugin,
            QRUN: self.installation.qrun_plugin,
        }[variant]

    def plugstack(self, variant: str, *arguments: str) -> list[str]:
        """Return the lines of plugstack.conf, with arguments for the plugin."""
        if variant == NONE:
            return []
        return [f"optional {self.plugin(variant)} {' '.join(arguments)}"]

    def workers(self, but: Set[int] = frozenset()) -> Workers:
        """Return the processes of our plugin's workers and of their server, but some."""
        return Workers(self.installation.environments, but)

    def new_folder(self) -> Path:
        """Return a folder that every user can enter."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        folder.chmod(0o755)
        return folder

    @contextmanager
    def site(self, backends: int = len(BACKENDS)) -> Iterator[Site]:
        """Run a simulated site with enough backends."""
        program = [str(SOURCES / "crowded_site.py"), f"--backends={backends}"]
        with Site(self.new_folder(), program=program) as site:
            yield site

    @contextmanager
    def worker_server(self) -> Iterator[SocketUnit]:
        """Serve workers of our plugin."""
        folder = self.new_folder()
        command = self.installation.environment / "bin" / "spank-qrmi"
        with SocketUnit(folder / "socket", [str(command), "worker-server"], folder) as unit:
            yield unit


def choose_workers(way: str, server: SocketUnit) -> str:
    """Return the argument that has workers come from this server, or from slurmstepd."""
    return f"--worker-server={'none' if way == SPAWNED else server.path}"


@contextmanager
def testbed() -> Iterator[Testbed]:
    """Install our plugin and compile the empty one in a folder that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="spank-qrmi-bench-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        installation = Installation(folder)
        installation.make("install")
        built = Testbed(
            folder,
            installation,
            folder / "empty_plugin.so",
            folder / "option_plugin.so",
            folder / "dlopen_time",
        )
        _compile("empty_plugin.c", built.empty_plugin, "-shared", "-fPIC")
        _compile("option_plugin.c", built.option_plugin, "-shared", "-fPIC")
        _compile("dlopen_time.c", built.dlopen_time)
        yield built
    finally:
        shutil.rmtree(folder)


def _compile(source: str, output: Path, *options: str) -> None:
    folders = [folder for folder in os.environ.get("SLURM_INCLUDE_DIRS", "").split(":") if folder]
    subprocess.run(
        [
            *("gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"),
            *(f"-I{folder}" for folder in folders),
            *options,
            *("-o", str(output), str(SOURCES / source), "-ldl"),
        ],
        check=True,
    )
