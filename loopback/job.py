# SPDX-License-Identifier: GPL-3.0-or-later
"""One submitted batch job: its states, its end and its output."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loopback.errors import ClusterError
from loopback.waiting import wait_until

# The end states of Slurm; a job that is still COMPLETING shows that instead.
END_STATES = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "TIMEOUT",
    }
)


_WAIT_FOR_A_STEP = re.compile(
    r"^srun: (Job \d+ step creation temporarily disabled|Step created for job \d+).*\n",
    re.MULTILINE,
)


@dataclass(frozen=True)
class JobResult:
    """How a job ended; `exit_code` is Slurm's `status:signal`, such as `1:0`."""

    state: str
    exit_code: str
    stdout: str
    stderr: str
    nodes: str


class CommandRunner(Protocol):
    """Where Slurm's commands are run: the machine itself, or one inside of it."""

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; raise CommandError if it fails."""


@dataclass(frozen=True)
class Job:
    """One batch job of a cluster; `submit_stderr` is what sbatch said while it took the job."""

    id: int
    folder: Path
    submit_stderr: str
    commands: CommandRunner

    @property
    def stdout(self) -> str:
        """What the job has written to its standard output so far."""
        return _read(self.folder / "stdout")

    @property
    def stderr(self) -> str:
        """What the job, and slurmstepd for it, have written to its standard error so far.

        Without what srun says when it had to wait for a step of the job's own to end.
        """
        return _WAIT_FOR_A_STEP.sub("", _read(self.folder / "stderr"))

    def details(self) -> dict[str, str]:
        """Return what `scontrol show job` says, by its keys; raise CommandError if it fails."""
        shown = self.commands.run("scontrol", "show", "--oneliner", "job", str(self.id)).stdout
        return dict(re.findall(r"(\S+?)=(\S*)", shown))

    def state(self) -> str:
        """Return the job's state, such as PENDING, RUNNING, COMPLETING or FAILED."""
        return self.details()["JobState"]

    def wait(self, timeout_seconds: float = 60) -> JobResult:
        """Return the job's result once its last process has ended; raise WaitTimeoutError."""
        wait_until(
            self.state, timeout_seconds, f"end of job {self.id}", accept=END_STATES.__contains__
        )
        details = self.details()
        return JobResult(
            details["JobState"], details["ExitCode"], self.stdout, self.stderr, details["NodeList"]
        )

    def wait_for_state(self, state: str, timeout_seconds: float = 60) -> None:
        """Wait until the job is in a state; raise ClusterError if it ends in another one."""
        reached = wait_until(
            self.state,
            timeout_seconds,
            f"state {state} of job {self.id}",
            accept=(END_STATES | {state}).__contains__,
        )
        if reached != state:
            message = f"job {self.id} ended as {reached} and never was {state}:\n{self.stderr}"
            raise ClusterError(message)

    def cancel(self) -> None:
        """Ask Slurm to cancel the job; raise CommandError if it refuses."""
        self.commands.run("scancel", str(self.id))


def parse_environment(text: str) -> dict[str, str]:
    """Return the variables that `env -0` printed, or `env`, where a value's lines are guessed at.

    Only `env -0` tells a value with newlines apart for certain, so let jobs print that.
    """
    if "\0" in text:
        entries = text.split("\0")
    else:
        # A line that does not look like NAME=… goes on with the value before it.
        entries = re.split(r"\n(?=[A-Za-z_][^\s=]*=)", text.removesuffix("\n"))
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return ""
