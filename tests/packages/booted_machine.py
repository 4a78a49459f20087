# SPDX-License-Identifier: GPL-3.0-or-later
"""A Debian machine below a folder that systemd has booted, and commands as root inside of it.

It is a container of systemd-nspawn, which is run from the folder itself: not every machine of tests
has that program, and installing it there may upgrade its systemd. The network is the one of the
machine of the tests, loopback too.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clean_root.inside import CLEAN_ENVIRONMENT, NAMESPACE

from loopback.errors import CommandError
from loopback.processes import Daemon, children_of
from loopback.waiting import wait_until

# All that nspawn notes about its containers in /run is gone with its namespace of mounts.
BOOT = """
set -e
root=$1
shift
for cgroup; do echo $$ >"$cgroup/cgroup.procs"; done
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
# The one below lib64 may be a link to a file of the machine's.
for loader in "$root"/usr/lib/*-linux-gnu*/ld-linux-*.so.*; do
    libraries=${loader%/*}
    exec "$loader" --library-path "$libraries:$libraries/systemd" "$root/usr/bin/systemd-nspawn" \
        --boot --directory="$root" --hostname="$(uname -n)" --register=no --keep-unit \
        --resolv-conf=off --timezone=off --link-journal=no --console=pipe
done
"""


class BootedMachine:
    """The machine below `folder`/system, whose name is that of the machine of the tests."""

    def __init__(self, folder: Path) -> None:
        """Describe a machine whose console is logged in `folder`, which is its alone."""
        self.root = folder / "system"
        self._folder = folder
        self._container: Daemon | None = None
        self._cgroups: list[Path] = []

    def boot(self) -> None:
        """Boot it and wait until its units have started."""
        # Two machines must not share one.
        self._cgroups = [own / self._folder.name for own in _own_cgroups()]
        try:
            for cgroup in self._cgroups:
                cgroup.mkdir(exist_ok=True)
            words = ["sh", "-c", BOOT, "sh", str(self.root), *map(str, self._cgroups)]
            log = self._folder / "console.log"
            command = [*NAMESPACE, *words]
            self._container = Daemon("systemd-nspawn", command, log, CLEAN_ENVIRONMENT)
            # A unit that does not work in a container is none of ours.
            booted = ("running", "degraded")
            wait_until(self._state, 60.0, "booted systemd", accept=booted.__contains__)
        except BaseException:
            self.cut_power()
            raise

    def cut_power(self) -> None:
        """End all its processes at once, as a crash does."""
        if self._container is not None:
            self._container.stop(signal.SIGKILL)
            self._container = None
        wait_until(lambda: all(map(_remove_cgroup, self._cgroups)), 10.0, "empty cgroups")
        self._cgroups = []

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end; raise CommandError if it (`check`) fails."""
        entry = ("nsenter", f"--target={self._first_process()}", "--all", "--root", "--wd")
        done = subprocess.run(
            [*entry, *command],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=CLEAN_ENVIRONMENT,
            timeout=120,
        )
        if check and done.returncode != 0:
            what = f"{' '.join(command)}: exit status {done.returncode}"
            message = f"{what}\n{done.stdout}{done.stderr}"
            raise CommandError(message)
        return done

    def property_of(self, unit: str, name: str) -> str:
        """Return what systemd knows of a unit."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).stdout.strip()

    @contextmanager
    def drop_in(self, unit: str, text: str) -> Iterator[None]:
        """Change a unit's file for a while, at most until the machine's next boot."""
        folder = f"/run/systemd/system/{unit}.d"
        write = 'mkdir -p "$1" && printf %s "$2" >"$1/test.conf" && systemctl daemon-reload'
        self.run("sh", "-c", write, "sh", folder, text)
        try:
            yield
        finally:
            self.run("sh", "-c", 'rm -r "$1" && systemctl daemon-reload', "sh", folder)

    def _state(self) -> str:
        if not self._first_process():
            return "starting systemd"
        state = self.run("systemctl", "is-system-running", check=False)
        return state.stdout.strip() or state.stderr

    def _first_process(self) -> int:
        """Return the process id of its systemd as the machine of the tests knows it; 0 if none."""
        if self._container is None:
            raise CommandError("the machine is not booted")
        self._container.check()
        nspawns = children_of(self._container.pid)
        pids = [pid for nspawn in nspawns for pid in children_of(nspawn)]
        return next((pid for pid in pids if _name_of(pid) == "systemd"), 0)


def _name_of(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "comm").read_text().strip()
    except OSError:
        return ""


def _own_cgroups() -> Iterator[Path]:
    """Yield this process's cgroups where systemd keeps units: in v2, in v1, or in both."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = {kind: path for _, kind, path in (line.split(":", 2) for line in lines)}
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, filesystem, options, *_ = line.split()
        if filesystem == "cgroup2":
            yield Path(f"{mount}{own['']}")
        elif filesystem == "cgroup" and "name=systemd" in options.split(","):
            yield Path(f"{mount}{own['name=systemd']}")


def _remove_cgroup(cgroup: Path) -> bool:
    """Remove a cgroup and those below; return False while a process is in one."""
    try:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            Path(folder).rmdir()
    except OSError:
        return False
    return True
