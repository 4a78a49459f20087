# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Slurm cluster on loopback: daemons, jobs, nodes, logs, and an end without a trace."""

import atexit
import contextlib
import itertools
import os
import pwd
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from loopback.accounting import Accounting
from loopback.commands import Commands
from loopback.configuration import Layout, reserved_ports, write_configuration, write_public
from loopback.errors import ClusterError, CommandError, SubmitError, WaitTimeoutError
from loopback.job import Job
from loopback.processes import Daemon, end_processes, processes_of, stepd_pids
from loopback.waiting import wait_until

START_SECONDS = 60.0
# Longer than KillWait, after which a step's processes get SIGKILL.
STEPS_END_SECONDS = 90.0


class SlurmCluster:
    """munged, slurmctld and some slurmds, all in one folder; needs root.

    The thread that starts a daemon must live as long as the daemon is wanted (`processes.Daemon`).
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 2,
        debug: str = "debug5",
        plugstack: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        mounts: Mapping[Path, Path] | None = None,
        has_accounting: bool = False,
    ) -> None:
        """Describe a cluster of nodes n1, n2 …; `settings` win over slurm.conf's.

        `plugstack` are the lines of plugstack.conf: only at its start does a slurmd look whether a
        plugin has an epilog.
        `debug` is how much slurmctld and the slurmds log: all they can, unless told otherwise.
        With `has_accounting`, slurmdbd and a database keep all they can of each job.
        `mounts` are files and folders that its slurmds and their jobs see in another place too.
        If jobs are to run as other users, these must be able to enter the folder's parents.
        """
        self.folder = folder.resolve()
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self._layout = Layout(self.folder)
        self._commands = Commands(self._layout.slurm_conf, self.folder)
        self._debug = debug
        self._plugstack = plugstack
        self._settings = dict(settings or {})
        self._mounts = dict(mounts or {})
        self._accounting = (
            Accounting(self.folder, self._layout.log("slurmdbd")) if has_accounting else None
        )
        self._daemons: dict[str, Daemon] = {}
        self._controller_port = 0
        self._ports = contextlib.ExitStack()
        self._job_numbers = itertools.count(1)

    def __enter__(self) -> "SlurmCluster":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the daemons and wait until all nodes are idle; raise ClusterError, cleaned up."""
        if os.geteuid() != 0:
            raise ClusterError(
                "a loopback cluster needs root: its slurmd starts jobs as other users"
            )
        self._layout.create()
        self.write_plugstack(*self._plugstack)
        self._controller_port, dbd_port, *node_ports = self._ports.enter_context(
            reserved_ports(2 + len(self.nodes))
        )
        kept = self._accounting.settings(dbd_port) if self._accounting else {}
        write_configuration(
            self._layout,
            self._controller_port,
            dict(zip(self.nodes, node_ports, strict=True)),
            self._debug,
            kept | self._settings,
        )
        atexit.register(self.stop)
        try:
            self._start_munged()
            if self._accounting is not None:
                self._start_accounting(self._accounting, dbd_port)
            self.start_slurmctld()
            for node in self.nodes:
                self._launch_slurmd(node)
            wait_until(self._first_states, START_SECONDS, "all nodes idle", accept=_all_idle)
        except WaitTimeoutError as error:
            tails = [f"{daemon.name}:\n{daemon.tail()}" for daemon in self._daemons.values()]
            self.stop()
            raise ClusterError("\n".join([str(error), *tails])) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Cancel all jobs, end the daemons, then all that is left of the cluster; may run twice."""
        try:
            # A test may have ended or broken the controller; the rest must go all the same.
            with contextlib.suppress(ClusterError):
                self._end_jobs()
        finally:
            for name in sorted(self._daemons, key=_stop_rank):
                self._daemons.pop(name).stop()
            wait_until(self._end_leftovers, STEPS_END_SECONDS, "end of all the cluster's processes")
            self._ports.close()
            atexit.unregister(self.stop)

    def start_slurmctld(self) -> None:
        """Start the controller and wait until it listens; raise ClusterError if it does not."""
        daemon = self._launch("slurmctld", "slurmctld", "-D")
        wait_until(lambda: self._controller_listens(daemon), START_SECONDS, "listening slurmctld")

    def stop_slurmctld(self, *, kill: bool = False) -> None:
        """End the controller; one that is killed forgets jobs of its last seconds (about five)."""
        self._stop("slurmctld", kill=kill)

    def restart_slurmctld(self, *, kill: bool = False) -> None:
        """Do `stop_slurmctld`, then `start_slurmctld`; nodes are idle again some seconds later."""
        self.stop_slurmctld(kill=kill)
        self.start_slurmctld()

    def start_slurmd(self, node: str, env: Mapping[str, str] | None = None) -> None:
        """Start a node's slurmd and wait until it has registered; raise ClusterError if not.

        `env` is what its environment has on top of the cluster's.
        """
        # Slurm knows its time to the second.
        started = int(time.time())
        daemon = self._launch_slurmd(node, env)
        wait_until(
            lambda: daemon.check() and self._registered(node) >= started,
            START_SECONDS,
            f"registration of {node}",
        )

    def stop_slurmd(self, node: str, *, kill: bool = False) -> None:
        """End a node's slurmd, by SIGKILL with `kill`; its running steps live on."""
        self._stop(_slurmd(node), kill=kill)

    def restart_slurmd(self, node: str, *, kill: bool = False) -> None:
        """Do `stop_slurmd`, then `start_slurmd`; raise ClusterError if it does not register."""
        self.stop_slurmd(node, kill=kill)
        self.start_slurmd(node)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of commands that talk to this cluster: ours without an outer Slurm's."""
        return dict(self._commands.environment)

    @property
    def munge_socket(self) -> Path:
        """Where the cluster's munged listens."""
        return self._layout.munge_socket

    def write_plugstack(self, *lines: str) -> None:
        """Replace plugstack.conf; commands and new steps read it at once, a slurmd at its start."""
        write_public(self._layout.plugstack, "".join(f"{line}\n" for line in lines))

    def plugstack(self) -> str:
        """Return what plugstack.conf says."""
        return self._layout.plugstack.read_text()

    def run(
        self,
        *command: str,
        check: bool = True,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_seconds: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; raise CommandError if it takes longer or (`check`) fails."""
        return self._commands.run(
            *command, check=check, user=user, env=env, timeout_seconds=timeout_seconds
        )

    def spawn(
        self, *command: str, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a command with its output in pipes; the caller reaps it, `stop` would kill it."""
        return self._commands.spawn(*command, user=user, env=env)

    def submit(
        self,
        script: str,
        *options: str,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Job:
        """Submit a batch script (bash unless it says so itself); raise SubmitError if refused."""
        folder = self._layout.jobs / f"{next(self._job_numbers):05}"
        folder.mkdir()
        folder.chmod(0o755)
        if user is not None:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        path = folder / "script"
        write_public(path, script if script.startswith("#!") else f"#!/bin/bash\n{script}\n")
        # Whoever looks at the output later learns from them whether the job asked for a QPU.
        write_public(folder / "options", "\n".join(options))
        output = (f"--output={folder / 'stdout'}", f"--error={folder / 'stderr'}")
        command = ("sbatch", "--parsable", *output, *options, str(path))
        done = self._commands.run(*command, check=False, user=user, env=env, cwd=folder)
        if done.returncode != 0:
            raise SubmitError(done.stderr)
        return Job(int(done.stdout.split(";")[0]), folder, done.stderr, self._commands)

    def queue(self) -> list[str]:
        """Return the ids of all jobs that are pending, running or completing."""
        return self.run("squeue", "--noheader", "--array", "--format=%i").stdout.split()

    def cancel_all(self, timeout_seconds: float = 60) -> None:
        """Cancel every job and wait until the queue is empty; raise WaitTimeoutError."""
        if jobs := self.queue():
            self.run("scancel", *jobs)
        self.wait_for_empty_queue(timeout_seconds)

    def wait_for_empty_queue(self, timeout_seconds: float = 60) -> None:
        """Wait until no job is left; raise WaitTimeoutError with the ids of those that are."""
        wait_until(self.queue, timeout_seconds, "empty queue", accept=lambda jobs: not jobs)

    def node_states(self) -> dict[str, str]:
        """Return each node's state, `idle` if all is well, else with Slurm's reason if it has one.

        Some releases keep the reason of a node that was resumed.
        """
        listed = self.run("sinfo", "--noheader", "--Node", "--format=%N|%T|%E").stdout
        states = {}
        for line in listed.splitlines():
            node, state, reason = line.strip().split("|", 2)
            states[node] = state if state == "idle" or reason == "none" else f"{state}: {reason}"
        return states

    def assert_nodes_healthy(self, timeout_seconds: float = 60) -> None:
        """Wait until all nodes are idle; raise ClusterError with states and reasons if not."""
        # A drained node stays so: no need to wait for it.
        states = wait_until(
            self._checked_states,
            timeout_seconds,
            "all nodes idle",
            accept=lambda states: _all_idle(states) or any(map(_is_drained, states.values())),
        )
        if not _all_idle(states):
            message = f"nodes are not all idle: {states}"
            raise ClusterError(message)

    def repair(self) -> None:
        """Start daemons that ended, cancel all jobs, resume all nodes; raise ClusterError."""
        if not self._runs("slurmctld"):
            self.restart_slurmctld()
        for node in self.nodes:
            if not self._runs(_slurmd(node)):
                self.restart_slurmd(node)
        self.cancel_all()
        broken = [node for node, state in self.node_states().items() if ":" in state]
        if broken:
            self.run("scontrol", "update", f"NodeName={','.join(broken)}", "State=RESUME")
        wait_until(self.node_states, START_SECONDS, "all nodes idle", accept=_all_idle)

    def slurmctld_log(self) -> str:
        """Return the controller's log so far."""
        return self._log("slurmctld")

    def slurmd_log(self, node: str) -> str:
        """Return a node's log so far, its steps' lines included."""
        return self._log(_slurmd(node))

    def log_lines_of(self, job: Job) -> list[str]:
        """Return the lines that the job's steps have logged, node by node.

        Steps that run on one node at the same time now and then cut each other's lines in two.
        """
        tag = re.compile(rf"\[{job.id}\.[^\]\s]+\]")
        text = "\n".join(self.slurmd_log(node) for node in self.nodes)
        return [line for line in text.splitlines() if tag.search(line)]

    def wait_for_log(
        self, pattern: str | re.Pattern[str], job: Job | None = None, timeout_seconds: float = 60
    ) -> str:
        """Return the first line that has the text or matches, of any log or of one job's lines.

        Raises WaitTimeoutError. Without a job, what earlier jobs have logged is found as well.
        """
        wanted = re.compile(re.escape(pattern)) if isinstance(pattern, str) else pattern

        def find() -> str:
            lines = self._all_log_lines() if job is None else self.log_lines_of(job)
            return next((line for line in lines if wanted.search(line)), "")

        return wait_until(find, timeout_seconds, f"log line {pattern!r}")

    def accounting_tables(self) -> dict[str, str]:
        """Return all that the accounting database holds as text, by table; raise ClusterError."""
        if self._accounting is None:
            raise ClusterError("this cluster has no accounting")
        return self._accounting.tables()

    def stepd_pids(self, job_id: int | None = None) -> set[int]:
        """Return the process ids of this cluster's slurmstepds, all or those of one job."""
        return stepd_pids(self.folder, job_id)

    def process_ids(self) -> set[int]:
        """Return the ids of all processes of this cluster: daemons, steps, jobs and commands."""
        return processes_of(self.folder)

    def daemon_pid(self, name: str) -> int:
        """Return the process id of `munged`, `slurmctld` or `slurmd-NODE`."""
        return self._daemons[name].pid

    def _start_munged(self) -> None:
        folder = self.folder
        daemon = self._launch(
            "munged",
            "munged",
            "--foreground",
            # Without it munged refuses our folder, whose parents others may write to.
            "--force",
            f"--socket={self._layout.munge_socket}",
            f"--key-file={self._layout.munge_key}",
            f"--pid-file={folder / 'munged.pid'}",
            f"--log-file={self._layout.log('munged')}",
            f"--seed-file={folder / 'munged.seed'}",
        )
        wait_until(
            lambda: daemon.check() and self._layout.munge_socket.exists(),
            START_SECONDS,
            "munged's socket",
        )

    def _start_accounting(self, accounting: Accounting, port: int) -> None:
        accounting.create(port)
        database = self._launch("mariadbd", *accounting.database_command)
        wait_until(lambda: database.check() and accounting.is_ready(), START_SECONDS, "mariadbd")
        slurmdbd = self._launch("slurmdbd", "slurmdbd", "-D", env=accounting.slurmdbd_environment)
        wait_until(lambda: slurmdbd.check() and _listens(port), START_SECONDS, "slurmdbd")
        self.run("sacctmgr", "--immediate", "add", "cluster", "loopback")

    def _launch_slurmd(self, node: str, env: Mapping[str, str] | None = None) -> Daemon:
        command = ["slurmd", "-D", "-N", node]
        for seen, place in self._mounts.items():
            mount = 'mount --bind "$0" "$1" && shift && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", mount, str(seen), str(place), *command]
        return self._launch(_slurmd(node), *command, env=env)

    def _launch(self, name: str, *command: str, env: Mapping[str, str] | None = None) -> Daemon:
        if name in self._daemons:
            message = f"{name} of this cluster runs already"
            raise ClusterError(message)
        environment = self._commands.environment | dict(env or {})
        daemon = Daemon(name, command, self._layout.log(name), environment)
        self._daemons[name] = daemon
        return daemon

    def _stop(self, name: str, *, kill: bool) -> None:
        if daemon := self._daemons.pop(name, None):
            daemon.stop(signal.SIGKILL if kill else signal.SIGTERM)

    def _controller_listens(self, daemon: Daemon) -> bool:
        return daemon.check() and _listens(self._controller_port)

    def _registered(self, node: str) -> float:
        """Return when the node's slurmd started, as the controller knows it, in Unix seconds."""
        shown = self.run("scontrol", "show", "--oneliner", "node", node).stdout
        match = re.search(r"SlurmdStartTime=(\d\S+)", shown)
        return datetime.fromisoformat(match[1]).timestamp() if match else 0.0

    def _first_states(self) -> dict[str, str]:
        # A controller with a bad configuration may listen for a moment before it ends.
        try:
            return self._checked_states()
        except CommandError:
            return {}

    def _checked_states(self) -> dict[str, str]:
        for name in ("munged", "slurmctld", *map(_slurmd, self.nodes)):
            if name not in self._daemons:
                message = f"{name} has been stopped"
                raise ClusterError(message)
            self._daemons[name].check()
        return self.node_states()

    def _runs(self, name: str) -> bool:
        return name in self._daemons and self._daemons[name].is_running()

    def _end_jobs(self) -> None:
        if not self._runs("slurmctld"):
            return
        if jobs := self.run("squeue", "-h", "-o", "%A", timeout_seconds=10).stdout.split():
            self.run("scancel", *jobs, timeout_seconds=10)
        wait_until(self.stepd_pids, STEPS_END_SECONDS, "end of steps", accept=lambda pids: not pids)

    def _end_leftovers(self) -> bool:
        leftover = processes_of(self.folder)
        end_processes(leftover)
        return not leftover

    def _log(self, name: str) -> str:
        path = self._layout.log(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def _all_log_lines(self) -> list[str]:
        names = ["slurmctld", *map(_slurmd, self.nodes)]
        return [line for name in names for line in self._log(name).splitlines()]


def _slurmd(node: str) -> str:
    return f"slurmd-{node}"


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _stop_rank(daemon: str) -> int:
    # A slurmd tells the controller that it ends, which tells the database; all need munge.
    return {"slurmctld": 1, "slurmdbd": 2, "mariadbd": 3, "munged": 4}.get(daemon, 0)


def _all_idle(states: Mapping[str, str]) -> bool:
    return set(states.values()) == {"idle"}


def _is_drained(state: str) -> bool:
    return state.startswith("drained")
