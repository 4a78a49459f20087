# SPDX-License-Identifier: GPL-3.0-or-later
"""A compute node on a booted machine: Slurm by Debian's services, the package, a simulated site."""

import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loopback.configuration import FIRST_WITH_CGROUPS_TO_DISABLE, slurm_version, write_public
from loopback.job import Job
from loopback.site import Site
from loopback.waiting import wait_until
from tests.packages.booted_machine import BootedMachine

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


@dataclass(frozen=True)
class BootedNode:
    """The one node of a cluster, on `machine`, and the site that its QPUs are of."""

    machine: BootedMachine
    site: Site

    def configure(self, controller_port: int, node_port: int) -> None:
        """Write Slurm's configuration before the machine is booted."""
        name = socket.gethostname().partition(".")[0]
        text = SLURM_CONF.format(name=name, controller_port=controller_port, node_port=node_port)
        etc = self.machine.root / "etc" / "slurm"
        write_public(etc / "slurm.conf", text)
        if slurm_version() >= FIRST_WITH_CGROUPS_TO_DISABLE:
            write_public(etc / "cgroup.conf", "CgroupPlugin=disabled\n")
        # Else dpkg waits for the disk after each of thousands of files.
        (self.machine.root / "etc" / "dpkg" / "dpkg.cfg.d" / "test").write_text("force-unsafe-io\n")
        self._jobs.mkdir()

    def install(self, deb: Path) -> None:
        """Install a package as an administrator does."""
        place = Path("root", deb.name)
        shutil.copy(deb, self.machine.root / place)
        self._apt("install", "--reinstall", "--allow-downgrades", f"/{place}")
        (self.machine.root / place).unlink()

    def purge(self) -> None:
        """Remove the package and its configuration."""
        self._apt("purge", "spank-qrmi")

    def enable_plugin(self) -> None:
        """Write what an administrator does: plugstack.conf's line and the configuration."""
        root = self.machine.root
        example = (root / f"{PLUGSTACK}.example").read_text()
        [line] = re.findall(r"(?m)^optional .*", example)
        (root / CONFIGURATION).touch(mode=0o600)
        (root / CONFIGURATION).write_bytes(self.site.config_path.read_bytes())
        write_public(root / PLUGSTACK, f"{line}\n")
        self.machine.run("systemctl", "restart", "slurmd.service")

    def disable_plugin(self) -> None:
        """Take that away again."""
        for name in (PLUGSTACK, CONFIGURATION):
            (self.machine.root / name).unlink(missing_ok=True)
        self.machine.run("systemctl", "restart", "slurmd.service")

    def clear(self) -> None:
        """Cancel all jobs, and wait until the node takes the next one; raise WaitTimeoutError."""
        cancel = partial(self.machine.run, "scancel", "--user=nobody", check=False)
        wait_until(lambda: cancel().returncode == 0, READY_SECONDS, "slurmctld")
        wait_until(self._state, READY_SECONDS, "idle node", accept="idle".__eq__)

    def submit(self, script: str, *options: str) -> Job:
        """Submit a script of a user's, which runs in a folder of its own."""
        folder = Path(tempfile.mkdtemp(dir=self._jobs))
        shutil.chown(folder, "nobody")
        write_public(folder / "script", f"#!/bin/sh\n{script}\n")
        inside = Path("/", folder.relative_to(self.machine.root))
        output = (f"--output={inside}/stdout", f"--error={inside}/stderr", f"--chdir={inside}")
        sbatch = ("runuser", "-u", "nobody", "--", "sbatch", "--parsable")
        done = self.machine.run(*sbatch, *output, *options, f"{inside}/script")
        return Job(int(done.stdout), folder, done.stderr, self.machine)

    @contextmanager
    def running_job(self, *options: str) -> Iterator[Job]:
        """Have a job run that has started, and let it end by itself."""
        job = self.submit("echo started; until [ -e end ]; do sleep 0.1; done", *options)
        try:
            wait_until(lambda: job.stdout, READY_SECONDS, "start of the job's script")
            yield job
        finally:
            (job.folder / "end").touch()

    def kill_step(self, job: Job) -> None:
        """Kill a job's slurmstepd, whose title tells it from others."""
        [pid] = self.machine.run("pgrep", "-f", rf"^slurmstepd: \[{job.id}\.batch").stdout.split()
        self.machine.run("kill", "-KILL", pid)

    def crash(self) -> None:
        """Let the machine crash."""
        self.machine.cut_power()
        # slurmctld gives numbers again that it has not saved.
        self._slurmd_log.unlink()

    def log_lines_of(self, job: Job) -> list[str]:
        """Return what the job's steps have logged."""
        lines = self._slurmd_log.read_text(errors="replace").splitlines()
        return [line for line in lines if re.search(rf"\[{job.id}\.\w+\]", line)]

    def served_count(self, job: Job) -> int:
        """Return how many workers of the job were the worker server's."""
        lines = self.log_lines_of(job)
        end = ": worker of worker server /run/spank_qrmi/worker.socket"
        return sum(line.endswith(end) for line in lines)

    def server_pid(self) -> int:
        """Return the worker server's process id on the machine; 0 while it does not run."""
        return int(self.machine.property_of(SERVER, "MainPID"))

    def has_ready_worker(self) -> bool:
        """Tell whether the worker server runs and has a worker for the next plugin."""
        pid = self.server_pid()
        children = ("cat", f"/proc/{pid}/task/{pid}/children")
        return pid != 0 and bool(self.machine.run(*children, check=False).stdout.split())

    def held(self) -> list[Path]:
        """Return the entries of the journal that jobs may still hold."""
        return [*self.machine.root.glob("var/lib/spank_qrmi/[0-9]*.json")]

    @property
    def environment(self) -> Path:
        """The environment of the installed package, as the machine names it."""
        environments = Path("usr", "lib", "spank_qrmi")
        current = (self.machine.root / environments / "current").readlink()
        return "/" / environments / current

    @property
    def _jobs(self) -> Path:
        return self.machine.root / "srv" / "jobs"

    @property
    def _slurmd_log(self) -> Path:
        return self.machine.root / "var" / "log" / "slurm" / "slurmd.log"

    def _state(self) -> str:
        """Return the node's state, or which jobs are there."""
        jobs = self.machine.run("squeue", "--noheader", "--format=%i %T", check=False).stdout
        if jobs:
            return jobs
        listed = self.machine.run("sinfo", "--noheader", "--Node", "--format=%T", check=False)
        return listed.stdout.strip() or listed.stderr

    def _apt(self, *command: str) -> None:
        self.machine.run("apt-get", "--yes", "--quiet", "--no-install-recommends", *command)
