# SPDX-License-Identifier: GPL-3.0-or-later
"""One batch job: when its script started, how long its release took, what its slurmstepd holds."""

import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from loopback.cluster import SlurmCluster
from loopback.configuration import Layout
from loopback.errors import ClusterError
from loopback.job import Job
from loopback.processes import PROC, children_of, command_line
from loopback.waiting import wait_until
from spank_qrmi.deadline import Deadline

# The plugin's lines tell when a hook began and ended.
SLURMD_DEBUG = "debug"
NODE = "n1"
JOB_SECONDS = 60.0
_EXIT_BEGINS, _EXIT_ENDS = "-> slurm_spank_exit", "<- slurm_spank_exit"
# Anywhere in a line: steps that run at the same time cut each other's lines in two.
_OF_A_BATCH_STEP = re.compile(r"\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})\] \[(\d+)\.batch\] (.*)")


@dataclass(frozen=True)
class JobFigures:
    """What one job took; `release_ms` is the exit hook's time, None if the log does not tell it.

    `acquisition_cpu_ms` is what the worker has used before the script. Of slurmstepd's resident
    memory while the script runs, `own_kb` is what it has written: the rest is of files that every
    slurmstepd maps, our plugin among them, and a node has once.
    """

    to_script_ms: float
    release_ms: float | None
    acquisition_cpu_ms: float
    own_kb: int
    resident_kb: int


@dataclass(frozen=True)
class LogLine:
    """A line of slurmd's log; `at` in Unix seconds."""

    at: float
    text: str


class StepLog:
    """The lines of batch steps in a slurmd's log, read as it grows."""

    def __init__(self, cluster: SlurmCluster) -> None:
        self._path = Layout(cluster.folder).log(f"slurmd-{NODE}")
        self._position = 0
        self._lines: dict[int, list[LogLine]] = defaultdict(list)

    def lines(self) -> Mapping[int, Sequence[LogLine]]:
        """Return what each job's batch step has logged so far."""
        self._read()
        return self._lines

    def _read(self) -> None:
        with self._path.open("rb") as log:
            log.seek(self._position)
            text, newline, _ = log.read().rpartition(b"\n")
        self._position += len(text) + len(newline)
        for line in text.decode(errors="replace").splitlines():
            if found := _OF_A_BATCH_STEP.search(line):
                at = datetime.fromisoformat(found[1]).timestamp()
                self._lines[int(found[2])].append(LogLine(at, found[3]))


class JobRunner:
    """Runs jobs one after the other on a cluster with one node."""

    def __init__(self, cluster: SlurmCluster) -> None:
        self._cluster = cluster
        self._log = StepLog(cluster)
        self._gate = cluster.folder / "gate"
        os.mkfifo(self._gate)

    def run(self, *options: str) -> JobFigures:
        """Run a job whose script waits until its slurmstepd has been looked at."""
        job = self._submit(*options)
        started_at = _wait_for_script(job, JOB_SECONDS)
        stepd = self._stepd(job)
        cpu_ms = _cpu_of_ended_children_ms(stepd)
        stepd_kb, stepd_own_kb = resident_kb(stepd), own_kb(stepd)
        self._finish(stepd)
        lines = self._log.lines()[job.id]
        return JobFigures(
            milliseconds_to_script(lines, float(started_at)),
            milliseconds_of_release(lines),
            cpu_ms,
            stepd_own_kb,
            stepd_kb,
        )

    def peak_kb(self, *options: str) -> int:
        """Run a job; return the most memory that the processes of its worker held together."""
        job = self._submit(*options)
        stepd = self._stepd(job)
        peak_kb = 0
        deadline = Deadline(JOB_SECONDS)
        # Without the pauses of wait_until: a worker may live for 50 ms.
        while not job.stdout and not deadline.has_passed():
            peak_kb = max(peak_kb, _held_together_kb(_workers_below(stepd)))
        _wait_for_script(job, 0)
        self._finish(stepd)
        return peak_kb

    def _submit(self, *options: str) -> Job:
        script = f'echo "$EPOCHREALTIME"; read -r _ <"{self._gate}"'
        return self._cluster.submit(script, *options)

    def _stepd(self, job: Job) -> int:
        pids = wait_until(
            lambda: self._cluster.stepd_pids(job.id), JOB_SECONDS, f"slurmstepd of job {job.id}"
        )
        # What it starts bears its title until it has become another program.
        return min(pids)

    def _finish(self, stepd: int) -> None:
        """Let the script end, and wait for the end of its slurmstepd."""
        self._gate.write_text("\n")
        wait_until(
            lambda: stepd not in self._cluster.stepd_pids(), JOB_SECONDS, "end of slurmstepd"
        )


def _wait_for_script(job: Job, seconds: float) -> str:
    """Return when the script began, in Unix seconds; raise ClusterError with the job's errors."""

    def started_at() -> str:
        if job.stderr:
            message = f"a job that is measured fails: {job.stderr}"
            raise ClusterError(message)
        return job.stdout

    return wait_until(started_at, seconds, "start of the script")


def milliseconds_to_script(lines: Sequence[LogLine], started_at: float) -> float:
    """Return the time from slurmstepd's first line to the script's."""
    return (started_at - lines[0].at) * 1000


def milliseconds_of_release(lines: Sequence[LogLine]) -> float | None:
    """Return the time from the beginning of the exit hook to its end, None if that is not told."""
    begins = [line.at for line in lines if _EXIT_BEGINS in line.text]
    ends = [line.at for line in lines if _EXIT_ENDS in line.text]
    return (ends[0] - begins[0]) * 1000 if begins and ends else None


def _cpu_of_ended_children_ms(pid: int) -> float:
    """Return what a process's children have used that it has waited for, in the kernel's ticks."""
    _, _, fields = (PROC / str(pid) / "stat").read_text().rpartition(")")
    user, system = (int(field) for field in fields.split()[13:15])
    return (user + system) * 1000 / os.sysconf("SC_CLK_TCK")


def resident_kb(pid: int) -> int:
    """Return all resident memory of a process."""
    return _sizes_kb(pid)["Rss"]


def own_kb(pid: int) -> int:
    """Return the resident memory that a process has written.

    What it has only read of a file that was written a moment ago counts as dirty, but not here.
    """
    return _sizes_kb(pid)["Anonymous"]


def _held_together_kb(pids: Iterable[int]) -> int:
    """Return the resident memory of processes that were forked from the first one.

    What they share with it counts once.
    """
    held_kb = 0
    for index, pid in enumerate(pids):
        # Each may end at any time.
        with contextlib.suppress(OSError, KeyError):
            sizes = _sizes_kb(pid)
            unshared_kb = sizes["Private_Dirty"] + sizes["Private_Clean"]
            held_kb += unshared_kb if index else sizes["Rss"]
    return held_kb


def _sizes_kb(pid: int) -> dict[str, int]:
    text = (PROC / str(pid) / "smaps_rollup").read_text()
    return {name: int(size) for name, size in re.findall(r"(?m)^(\w+):\s+(\d+) kB", text)}


def _workers_below(pid: int) -> Iterator[int]:
    for child in children_of(pid):
        if any("spank_qrmi" in word for word in command_line(child)):
            yield child
        yield from _workers_below(child)
