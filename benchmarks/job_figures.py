# SPDX-License-Identifier: GPL-3.0-or-later
"""One batch job: when its script started, how long its release took, what its slurmstepd holds."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from benchmarks.memory import own_kb, resident_kb
from loopback.cluster import SlurmCluster
from loopback.configuration import Layout
from loopback.errors import ClusterError
from loopback.job import Job
from loopback.waiting import wait_until

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

    Of slurmstepd's resident memory while the script runs, `own_kb` is what it has written: the rest
    is of files that every slurmstepd maps, our plugin among them, and a node has once.
    """

    to_script_ms: float
    release_ms: float | None
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
        script = f'echo "$EPOCHREALTIME"; read -r _ <"{self._gate}"'
        job = self._cluster.submit(script, *options)
        started_at = _wait_for_script(job)
        [stepd] = self._cluster.stepd_pids(job.id)
        stepd_kb, stepd_own_kb = resident_kb(stepd), own_kb(stepd)
        self._gate.write_text("\n")
        wait_until(
            lambda: stepd not in self._cluster.stepd_pids(), JOB_SECONDS, "end of slurmstepd"
        )
        lines = self._log.lines()[job.id]
        return JobFigures(
            milliseconds_to_script(lines, float(started_at)),
            milliseconds_of_release(lines),
            stepd_own_kb,
            stepd_kb,
        )


def _wait_for_script(job: Job) -> str:
    """Return when the script began, in Unix seconds; raise ClusterError with the job's errors."""

    def started_at() -> str:
        if job.stderr:
            message = f"a job that is measured fails: {job.stderr}"
            raise ClusterError(message)
        return job.stdout

    return wait_until(started_at, JOB_SECONDS, "start of the script")


def milliseconds_to_script(lines: Sequence[LogLine], started_at: float) -> float:
    """Return the time from slurmstepd's first line to the script's."""
    return (started_at - lines[0].at) * 1000


def milliseconds_of_release(lines: Sequence[LogLine]) -> float | None:
    """Return the time from the beginning of the exit hook to its end, None if that is not told."""
    begins = [line.at for line in lines if _EXIT_BEGINS in line.text]
    ends = [line.at for line in lines if _EXIT_ENDS in line.text]
    return (ends[0] - begins[0]) * 1000 if begins and ends else None
