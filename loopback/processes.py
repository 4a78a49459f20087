# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of one cluster: its daemons as our children, and what else of it is found in /proc.

Nothing is ever matched by name alone, because other Slurm clusters may run on the same machine.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from loopback.errors import ClusterError
from loopback.waiting import wait_until

PROC = Path("/proc")
# Tells what we started from the shell of somebody who was given the cluster's SLURM_CONF.
CLUSTER_MARK = "LOOPBACK_CLUSTER"
TERM_SECONDS = 60.0
KILL_SECONDS = 60.0


class Daemon:
    """One daemon in the foreground as our child process.

    It gets SIGTERM when the thread that started it ends, so that it does not outlive a test run
    that was killed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        inherited: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        # What a daemon says before it has read where its log file is.
        self.console = log.with_suffix(".console")
        with self.console.open("ab") as console:
            self._console_start_bytes = console.tell()
            self._process = subprocess.Popen(
                # A shell's background jobs ignore signals, which newer slurmd pass on to jobs.
                ["setpriv", "--pdeathsig", "TERM", "--", "env", "--default-signal", *command],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=log.parent,
                # A Ctrl-C in the terminal is for us alone: we end the daemons in order.
                start_new_session=True,
                umask=0o022,
                pass_fds=inherited,
            )

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        return self._process.pid

    @property
    def said(self) -> str:
        """What it has written to its console; a log folder may be one of earlier daemons."""
        with self.console.open("rb") as console:
            console.seek(self._console_start_bytes)
            return console.read().decode(errors="replace")

    def is_running(self) -> bool:
        """Tell whether the daemon's process lives."""
        return self._process.poll() is None

    def check(self) -> bool:
        """Return True; raise ClusterError with the end of the log if the daemon has ended."""
        status = self._process.poll()
        if status is not None:
            message = f"{self.name} ended with status {status}:\n{self.tail()}"
            raise ClusterError(message)
        return True

    def tail(self, lines: int = 25) -> str:
        """Return the last lines of the daemon's log, or of its console if it has no log."""
        for path in (self.log, self.console):
            if path.exists() and path.stat().st_size:
                return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
        return f"({self.log} is empty)"

    def stop(self, first_signal: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon and reap it; it gets SIGKILL if it lives on after TERM_SECONDS."""
        if self.is_running():
            self._process.send_signal(first_signal)
        try:
            self._process.wait(TERM_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(KILL_SECONDS)


def end_processes(pids: Iterable[int]) -> None:
    """Kill processes and wait until they are gone; raise WaitTimeoutError if one stays."""
    remaining = set(pids)
    for pid in remaining:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: not any(_is_alive(pid) for pid in remaining),
        KILL_SECONDS,
        f"end of the processes {sorted(remaining)}",
    )


def processes_of(folder: Path) -> set[int]:
    """Return the ids of all processes of the cluster in this folder, but us and our ancestors."""
    parents = {pid: _parent_of(pid) for pid in _all_pids()}
    ours = {os.getpid(), *_ancestors(os.getpid(), parents)}
    found = {pid for pid in parents if pid not in ours and _belongs_to(pid, folder)}
    # A helper with a clean environment is known by the daemon or step that started it.
    return found | {pid for pid in parents if found.intersection(_ancestors(pid, parents))}


def stepd_pids(folder: Path, job_id: int | None = None) -> set[int]:
    """Return the ids of the cluster's slurmstepd processes, all or those of one job."""
    title = "slurmstepd: [" if job_id is None else f"slurmstepd: [{job_id}."
    found = {
        pid
        for pid in _all_pids()
        if _read(pid, "cmdline").startswith(title.encode()) and _has_open_below(pid, folder)
    }
    # A task bears its title until it becomes the program that it is to run.
    return {pid for pid in found if _parent_of(pid) not in found}


def children_of(pid: int) -> list[int]:
    """Return the process ids of a process's children; none if it has ended."""
    try:
        texts = [path.read_text() for path in (PROC / str(pid) / "task").glob("*/children")]
    except OSError:
        return []
    return [int(word) for text in texts for word in text.split()]


def command_line(pid: int) -> Sequence[str]:
    """Return a process's command and arguments; nothing if it has ended."""
    try:
        return (PROC / str(pid) / "cmdline").read_text(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def target_of(pid: int, descriptor: int) -> str:
    """Return what a process's descriptor leads to; nothing if it has ended."""
    try:
        return str((PROC / str(pid) / "fd" / str(descriptor)).readlink())
    except OSError:
        return ""


def processes_naming(text: str) -> dict[int, Sequence[str]]:
    """Return the command lines of all processes that name a text, by process id."""
    lines = {int(path.name): command_line(int(path.name)) for path in PROC.glob("[0-9]*")}
    return {pid: line for pid, line in lines.items() if any(text in word for word in line)}


def _belongs_to(pid: int, folder: Path) -> bool:
    variables = _read(pid, "environ").split(b"\0")
    if f"{CLUSTER_MARK}={folder}".encode() in variables:
        return True
    # slurmstepd writes its title over the memory that holds its environment.
    is_slurms = _read(pid, "comm").startswith((b"slurm", b"munged"))
    return is_slurms and _has_open_below(pid, folder)


def _has_open_below(pid: int, folder: Path) -> bool:
    try:
        links = [PROC / str(pid) / "cwd", *(PROC / str(pid) / "fd").iterdir()]
    except OSError:
        return False
    for link in links:
        with contextlib.suppress(OSError):
            target = link.readlink()
            if target == folder or folder in target.parents:
                return True
    return False


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal()]


def _ancestors(pid: int, parents: Mapping[int, int]) -> Iterator[int]:
    while (pid := parents.get(pid, 0)) > 0:
        yield pid


def _parent_of(pid: int) -> int:
    # The name in parentheses may itself hold spaces and parentheses.
    _, _, fields = _read(pid, "stat").rpartition(b") ")
    return int(fields.split()[1]) if fields else 0


def _is_alive(pid: int) -> bool:
    _, _, fields = _read(pid, "stat").rpartition(b") ")
    return bool(fields) and not fields.startswith(b"Z")


def _read(pid: int, name: str) -> bytes:
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""
