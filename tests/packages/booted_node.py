# SPDX-License-Identifier: GPL-3.0-or-later
"""A Debian machine below a folder that systemd has booted, and commands as root inside of it.

It is a container of systemd-nspawn, which is run from the folder itself: not every machine of tests
has that program, and installing it there may upgrade its systemd. The network is the one of the
machine of the tests, loopback too. On it is a compute node: Slurm by Debian's services, the
package, a simulated site.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from clean_root.inside import CLEAN_ENVIRONMENT, NAMESPACE

from loopback.configuration import FIRST_WITH_CGROUPS_TO_DISABLE, slurm_version, write_public
from loopback.errors import CommandError
from loopback.job import Job
from loopback.processes import Daemon, children_of
from loopback.site import Site
from loopback.waiting import wait_until

SLURM = ("munge.service", "slurmctld.service", "slurmd.service")
SERVER = "spank-qrmi-worker-server.service"
PLUGSTACK = "etc/slurm/plugstack.conf.d/spank_qrmi.conf"
CONFIGURATION = "etc/slurm/qrmi_config.json"
READY_SECONDS = 30.0
SLURM_CONF = """
ClusterName=booted
SlurmctldHost={name}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=slurm
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmdSpoolDir=/var/lib/slurm/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
SlurmdDebug=debug
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MailProg=/bin/true
SchedulerParameters=batch_sched_delay=0,sched_interval=1
ReturnToService=2
JobRequeue=0
KillWait=5
Licenses=qpu_ibm_sherbrooke:1
NodeName=n1 NodeHostname={name} NodeAddr=127.0.0.1 Port={node_port} State=UNKNOWN
PartitionName=main Nodes=n1 Default=YES MaxTime=UNLIMITED State=UP
"""
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


class BootedNode(BootedMachine):
    """The one node of a cluster, and the site that its QPUs are of."""

    def __init__(self, folder: Path, site: Site) -> None:
        super().__init__(folder)
        self.site = site

    def configure(self, controller_port: int, node_port: int) -> None:
        """Write Slurm's configuration before the machine is booted."""
        name = socket.gethostname().partition(".")[0]
        text = SLURM_CONF.format(name=name, controller_port=controller_port, node_port=node_port)
        etc = self.root / "etc" / "slurm"
        write_public(etc / "slurm.conf", text)
        if slurm_version() >= FIRST_WITH_CGROUPS_TO_DISABLE:
            write_public(etc / "cgroup.conf", "CgroupPlugin=disabled\n")
        # Else dpkg waits for the disk after each of thousands of files.
        (self.root / "etc" / "dpkg" / "dpkg.cfg.d" / "test").write_text("force-unsafe-io\n")
        self._jobs.mkdir()

    def install(self, deb: Path) -> None:
        """Install a package as an administrator does."""
        place = Path("root", deb.name)
        shutil.copy(deb, self.root / place)
        self._apt("install", "--reinstall", "--allow-downgrades", f"/{place}")
        (self.root / place).unlink()

    def purge(self) -> None:
        """Remove the package and its configuration."""
        self._apt("purge", "spank-qrmi")

    def enable_plugin(self) -> None:
        """Write what an administrator does: plugstack.conf's line and the configuration."""
        example = (self.root / f"{PLUGSTACK}.example").read_text()
        [line] = re.findall(r"(?m)^optional .*", example)
        (self.root / CONFIGURATION).touch(mode=0o600)
        (self.root / CONFIGURATION).write_bytes(self.site.config_path.read_bytes())
        write_public(self.root / PLUGSTACK, f"{line}\n")
        self.run("systemctl", "restart", "slurmd.service")

    def clear(self) -> None:
        """Cancel all jobs, and wait until the node takes the next one; raise WaitTimeoutError."""
        cancel = partial(self.run, "scancel", "--user=nobody", check=False)
        wait_until(lambda: cancel().returncode == 0, READY_SECONDS, "slurmctld")
        wait_until(self._slurm_state, READY_SECONDS, "idle node", accept="idle".__eq__)

    def submit(self, script: str, *options: str) -> Job:
        """Submit a script of a user's, which runs in a folder of its own."""
        folder = Path(tempfile.mkdtemp(dir=self._jobs))
        shutil.chown(folder, "nobody")
        write_public(folder / "script", f"#!/bin/sh\n{script}\n")
        inside = Path("/", folder.relative_to(self.root))
        output = (f"--output={inside}/stdout", f"--error={inside}/stderr", f"--chdir={inside}")
        sbatch = ("runuser", "-u", "nobody", "--", "sbatch", "--parsable")
        done = self.run(*sbatch, *output, *options, f"{inside}/script")
        return Job(int(done.stdout), folder, done.stderr, self)

    @contextmanager
    def running_job(self, *options: str) -> Iterator[Job]:
        """Have a job run that has started, and let it end by itself."""
        job = self.submit("echo started; until [ -e end ]; do sleep 0.1; done", *options)
        try:
            wait_until(lambda: job.stdout, READY_SECONDS, "start of the job's script")
            yield job
        finally:
            (job.folder / "end").touch()

    def crash(self) -> None:
        """Let the machine crash."""
        self.cut_power()
        # slurmctld gives numbers again that it has not saved.
        self.slurmd_log.unlink()

    def served_count(self, job: Job) -> int:
        """Return how many workers of the job were the worker server's."""
        served = rf"\[{job.id}\.\w+\] .*: worker of worker server /run/spank_qrmi/worker.socket\n"
        return len(re.findall(served, self.slurmd_log.read_text(errors="replace")))

    def server_pid(self) -> int:
        """Return the worker server's process id on the machine; 0 while it does not run."""
        return int(self.property_of(SERVER, "MainPID"))

    def has_ready_worker(self) -> bool:
        """Tell whether the worker server runs and has a worker for the next plugin."""
        pid = self.server_pid()
        children = ("cat", f"/proc/{pid}/task/{pid}/children")
        return pid != 0 and bool(self.run(*children, check=False).stdout.split())

    def held(self) -> list[Path]:
        """Return the entries of the journal that jobs may still hold."""
        return [*self.root.glob("var/lib/spank_qrmi/[0-9]*.json")]

    @property
    def environment(self) -> Path:
        """The environment of the installed package, as the machine names it."""
        environments = Path("usr", "lib", "spank_qrmi")
        current = (self.root / environments / "current").readlink()
        return "/" / environments / current

    @property
    def slurmd_log(self) -> Path:
        return self.root / "var" / "log" / "slurm" / "slurmd.log"

    @property
    def _jobs(self) -> Path:
        return self.root / "srv" / "jobs"

    def _slurm_state(self) -> str:
        """Return the node's state, or which jobs are there."""
        jobs = self.run("squeue", "--noheader", "--format=%i %T", check=False).stdout
        if jobs:
            return jobs
        listed = self.run("sinfo", "--noheader", "--Node", "--format=%T", check=False)
        return listed.stdout.strip() or listed.stderr

    def _apt(self, *command: str) -> None:
        self.run("apt-get", "--yes", "--quiet", "--no-install-recommends", *command)


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
