# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of one cluster: where they lie and what they say."""

import os
import random
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from loopback.errors import ClusterError

# The longest socket is a step's, `/spool/n10/n10_4294967295.4294967295`; Linux allows 107 bytes.
LONGEST_FOLDER_BYTES = 70
# Below the range that Linux takes ports of outgoing connections from, which would be a race.
PORTS = range(10000, 32000)
PORT_ATTEMPTS = 200
CPUS_PER_NODE = 64
# From this release on slurmd looks for cgroups whatever plugins are chosen, and can be told not to.
FIRST_WITH_CGROUPS_TO_DISABLE = (24, 5)


@dataclass(frozen=True)
class Layout:
    """Where the files of a cluster lie; everyone can enter all folders but `state`."""

    folder: Path

    @property
    def slurm_conf(self) -> Path:
        """The file that SLURM_CONF names."""
        return self.folder / "slurm.conf"

    @property
    def plugstack(self) -> Path:
        """The list of SPANK plugins."""
        return self.folder / "plugstack.conf"

    @property
    def logs(self) -> Path:
        """The folder of the daemons' logs."""
        return self.folder / "log"

    @property
    def jobs(self) -> Path:
        """The folder with one folder per submitted job."""
        return self.folder / "jobs"

    @property
    def munge_socket(self) -> Path:
        """The socket at which this cluster's munged listens."""
        return self.folder / "munge.sock"

    @property
    def munge_key(self) -> Path:
        """The key that only this cluster's munged knows."""
        return self.folder / "munge.key"

    def log(self, daemon: str) -> Path:
        """Return the log of `munged`, `slurmctld` or `slurmd-NODE`, or that of `jobcomp`."""
        return self.logs / f"{daemon}.log"

    def create(self) -> None:
        """Make the folders and the munge key; raise ClusterError if the path is too long."""
        if len(os.fsencode(self.folder)) > LONGEST_FOLDER_BYTES:
            message = (
                f"{self.folder}: longer than {LONGEST_FOLDER_BYTES} bytes, too long for sockets"
            )
            raise ClusterError(message)
        for folder in (self.folder, self.logs, self.jobs, self.folder / "spool"):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        (self.folder / "state").mkdir(mode=0o700, exist_ok=True)
        self.munge_key.touch(mode=0o600)
        self.munge_key.write_bytes(os.urandom(128))


def write_public(path: Path, text: str) -> None:
    """Write a file that everyone may read, in one step, so that nobody reads half of it."""
    descriptor, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.fsencode(text))
        os.fchmod(descriptor, 0o644)
    Path(scratch).replace(path)


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Give TCP ports that no other cluster takes meanwhile; raise ClusterError if too few are free.

    Slurm's daemons may listen on them: as we do, they set SO_REUSEADDR, and we do not listen.
    """
    with ExitStack() as held:
        ports: list[int] = []
        for port in random.sample(PORTS, PORT_ATTEMPTS):
            socket_of_port = held.enter_context(socket.socket())
            try:
                # Slurm's daemons listen on every address.
                socket_of_port.bind(("", port))
            except OSError:
                continue
            # Only now: before, it would find a port free that somebody else has reserved.
            socket_of_port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            ports.append(port)
            if len(ports) == count:
                break
        else:
            message = f"found {len(ports)} free ports of the {count} needed"
            raise ClusterError(message)
        yield ports


def slurm_version() -> tuple[int, int]:
    """Return the installed Slurm's release such as (22, 5); raise ClusterError if there is none."""
    try:
        printed = subprocess.run(
            ["slurmd", "-V"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        message = f"slurmd -V: {error}"
        raise ClusterError(message) from error
    match = re.search(r"\b(\d+)\.(\d+)", printed)
    if match is None:
        message = f"slurmd -V printed no version: {printed!r}"
        raise ClusterError(message)
    return int(match[1]), int(match[2])


def write_configuration(
    layout: Layout,
    controller_port: int,
    node_ports: Mapping[str, int],
    debug: str,
    extra: Mapping[str, str],
) -> None:
    """Write slurm.conf, and cgroup.conf where this Slurm wants one; `extra` replaces settings."""
    settings = _settings(layout, controller_port, debug) | dict(extra)
    lines = [f"{name}={value}" for name, value in settings.items()]
    lines += [
        f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port}"
        f" CPUs={CPUS_PER_NODE} State=UNKNOWN"
        for node, port in node_ports.items()
    ]
    nodes = ",".join(node_ports)
    lines.append(f"PartitionName=main Nodes={nodes} Default=YES MaxTime=UNLIMITED State=UP")
    write_public(layout.slurm_conf, "\n".join(lines) + "\n")
    if slurm_version() >= FIRST_WITH_CGROUPS_TO_DISABLE:
        write_public(layout.folder / "cgroup.conf", "CgroupPlugin=disabled\n")


def _settings(layout: Layout, controller_port: int, debug: str) -> dict[str, str]:
    folder = layout.folder
    return {
        "ClusterName": "loopback",
        "SlurmctldHost": f"{socket.gethostname().split('.')[0]}(127.0.0.1)",
        "SlurmctldPort": str(controller_port),
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={layout.munge_socket}",
        "CredType": "cred/munge",
        "StateSaveLocation": str(folder / "state"),
        "SlurmdSpoolDir": str(folder / "spool" / "%n"),
        "SlurmctldPidFile": str(folder / "slurmctld.pid"),
        "SlurmdPidFile": str(folder / "slurmd-%n.pid"),
        "SlurmctldLogFile": str(layout.log("slurmctld")),
        "SlurmdLogFile": str(layout.log("slurmd-%n")),
        "JobCompType": "jobcomp/filetxt",
        "JobCompLoc": str(layout.log("jobcomp")),
        "SlurmctldDebug": debug,
        "SlurmdDebug": debug,
        "PlugStackConfig": str(layout.plugstack),
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "MailProg": "/bin/true",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        # The nodes claim more CPUs than the machine has, so that many jobs run at once.
        "SlurmdParameters": "config_overrides",
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "batch_sched_delay=0,sched_interval=1,bf_interval=1",
        "ReturnToService": "2",
        # Slurm's own: proctrack/linuxproc then kills workers too, whose work ends before that.
        "KillWait": "30",
        # Finished jobs stay known, so that their result can be asked for.
        "MinJobAge": "86400",
    }
