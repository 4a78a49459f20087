# SPDX-License-Identifier: GPL-3.0-or-later
"""`make soak`: hundreds of QPU jobs while the site fails and processes are killed, then the sum.

Whatever struck, every session that was opened must have been closed in the end, or be told by the
node's journal if the service's answer was lost; the usage log has one record of each session, see
soak_records.py; no node is drained and no process is left.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loopback.cluster import SlurmCluster
from loopback.errors import ClusterError, WaitTimeoutError
from loopback.installation import Installation
from loopback.processes import children_of, command_line, end_processes, processes_naming
from loopback.site import Site
from loopback.soak_plan import (
    ARRAY_TASKS,
    DAEMON_BLOWS,
    SERVER_KILLED,
    SLURMCTLD_RESTARTED,
    SLURMD_KILLED,
    TIME_LIMIT,
    PlannedJob,
    plan_soak,
)
from loopback.soak_records import Comparison, compare, untold
from loopback.socket_unit import SocketUnit
from loopback.waiting import wait_until
from spank_qrmi.state.locked_files import TEMPORARY_PREFIX

JOBS_AT_ONCE = 8
# Short, so that many faults end in a failure and not in a delay.
TIMEOUTS = ("--acquire-timeout=4", "--release-timeout=4")
QUEUE_SECONDS = 120.0
SETTLE_SECONDS = 120.0
HEALTHY_SECONDS = 60.0
WORKERS_END_SECONDS = 60.0
SRUN_END_SECONDS = 60.0
TOLD_EVERY = 50
WORKER = "spank_qrmi.worker"


@dataclass(frozen=True)
class Result:
    """What a soak has left; `sessions` are the site's, `entries` what `spank-qrmi status` lists.

    `records` are those of the usage log, `leftovers` files that killed processes have begun.
    """

    submitted: int
    states: Counter[str]
    blows: Counter[str]
    faults: Counter[str]
    sessions: Sequence[dict[str, Any]]
    entries: Sequence[dict[str, Any]]
    unreadable: Sequence[str]
    nodes: dict[str, str]
    processes: Sequence[str]
    cancelled_at_end: int
    records: Sequence[dict[str, Any]] = ()
    leftovers: Sequence[str] = ()

    @property
    def open_sessions(self) -> list[dict[str, Any]]:
        """The sessions that only their `max_ttl` will end."""
        return [each for each in self.sessions if each["closed_at"] is None]

    def lines(self) -> list[str]:
        """Return the figures, a line for each kind."""
        closed = Counter(each["closed_how"] for each in self.sessions if each["closed_at"])
        in_journal = Counter(each["state"] for each in self.entries)
        return [
            f"jobs submitted   {self.submitted}: {_listed(self.states)}",
            f"cancelled at the end, as nothing else ended them: {self.cancelled_at_end}",
            f"faults met       {self.faults.total()}: {_listed(self.faults)}",
            f"blows landed     {self.blows.total()}: {_listed(self.blows)}",
            f"sessions opened  {len(self.sessions)}",
            f"sessions closed  {closed.total()}: {_listed(closed)}",
            f"sessions open    {len(self.open_sessions)}, until their max_ttl",
            f"journal          {len(self.entries)}: {_listed(in_journal)}",
            f"records          {len(self.records)}: {_listed(self._results())}",
            f"of the sessions  {self._comparison().line}",
            f"nodes            {', '.join(' '.join(each) for each in self.nodes.items())}",
        ]

    def _comparison(self) -> Comparison:
        return compare(self.sessions, self.records, self.entries)

    def _results(self) -> Counter[str]:
        return Counter(each["result"] for each in self.records)

    def problems(self) -> list[str]:
        """Return what must not be, in words; nothing if all is well."""
        problems = [f"the journal holds {line}" for line in self.unreadable]
        problems += [
            f"the journal still holds {each['resource']} of job {each['job_id']}: {each['state']}"
            for each in self.entries
            if each["state"] != "never answered" or not each["reason"]
        ]
        problems += [
            f"session {each['id']} on {each['backend_name']} is open, and no entry tells of it"
            for each in untold(self.open_sessions, self.entries)
        ]
        problems += self._comparison().problems
        problems += [
            f"node {node} is {state}" for node, state in self.nodes.items() if state != "idle"
        ]
        problems += [f"left behind: {name}" for name in self.leftovers]
        return problems + [f"left running: {line}" for line in self.processes]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "none"


class Soak:
    """One soak on a running cluster and site; `folder` takes the journal."""

    def __init__(
        self, cluster: SlurmCluster, site: Site, installation: Installation, folder: Path
    ) -> None:
        self._cluster = cluster
        self._site = site
        self._installation = installation
        self._state_directory = folder / "journal"
        self._usage_path = folder / "usage" / "usage.jsonl"
        self._blows: list[tuple[float, PlannedJob]] = []
        self._landed: Counter[str] = Counter()
        self._sruns: list[subprocess.Popen[str]] = []
        command = installation.environment / "bin" / "spank-qrmi"
        self._server = SocketUnit(folder / "server", [str(command), "worker-server"], folder)
        self._choice = random.Random(0)

    def run(self, planned: Sequence[PlannedJob]) -> Result:
        """Run all jobs, let everything end, and return what is left.

        Raises ClusterError if the cluster itself breaks.
        """
        with self._server:
            return self._run(planned)

    def _run(self, planned: Sequence[PlannedJob]) -> Result:
        self._choice = random.Random(len(planned))
        self._write_plugstack(planned[0])
        for node in self._cluster.nodes:
            # Only at its start slurmd looks whether a plugin has an epilog.
            self._cluster.restart_slurmd(node)
        self._cluster.assert_nodes_healthy(HEALTHY_SECONDS)
        told = TOLD_EVERY
        submitted = 0
        for job in planned:
            self._wait_for_room(job.tasks)
            self._start(job)
            submitted += job.tasks
            if submitted >= told:
                print(f"{submitted} jobs submitted", flush=True)
                told += TOLD_EVERY
        return self._settle(submitted)

    def _start(self, job: PlannedJob) -> None:
        self._write_plugstack(job)
        if job.fault:
            self._site.order_fault(**dict(job.fault))  # type: ignore[arg-type] # as JSON has it
        options = (f"--job-name={job.name}", f"--qpu={job.qpus}", *job.options)
        if job.way == "srun":
            self._sruns.append(self._cluster.spawn("srun", *options, "bash", "-c", job.script))
        else:
            array = (f"--array=1-{ARRAY_TASKS}",) if job.way == "array" else ()
            self._cluster.submit(job.script, "--no-requeue", *options, *array)
        if job.blow and job.blow != TIME_LIMIT:
            self._blows.append((time.monotonic() + job.blow_after_seconds, job))

    def _write_plugstack(self, job: PlannedJob) -> None:
        words = (
            *(job.mode, self._installation.plugin, self._site.config_path, *TIMEOUTS),
            f"--state-dir={self._state_directory}",
            f"--munge-socket={self._cluster.munge_socket}",
            f"--usage-file={self._usage_path}",
            f"--require={job.require}",
            f"--worker-server={self._server.path if job.is_served else 'none'}",
        )
        self._cluster.write_plugstack(" ".join(map(str, words)))

    def _wait_for_room(self, tasks: int) -> None:
        wait_until(
            self._active_jobs,
            QUEUE_SECONDS,
            "room for another job",
            accept=lambda jobs: jobs + tasks <= JOBS_AT_ONCE,
        )

    def _active_jobs(self) -> int:
        """Strike what is due; return how many jobs there are, without those that wait for long."""
        self._strike()
        listed = self._cluster.run("squeue", "-h", "--array", "--format=%l").stdout.split()
        return sum(limit != "1:00" for limit in listed)

    def _strike(self) -> None:
        now = time.monotonic()
        for at, job in list(self._blows):
            if now >= at:
                self._blows.remove((at, job))
                if job.blow in DAEMON_BLOWS:
                    self._restart(job.blow)
                    self._landed[job.blow] += 1
                else:
                    landed = [self._hit(job, job_id) for job_id in self._ids_of(job)]
                    self._landed[job.blow if any(landed) else "too late"] += 1

    def _restart(self, blow: str) -> None:
        if blow == SLURMCTLD_RESTARTED:
            self._cluster.restart_slurmctld()
        else:
            node = self._choice.choice(self._cluster.nodes)
            self._cluster.restart_slurmd(node, kill=blow == SLURMD_KILLED)

    def _ids_of(self, job: PlannedJob) -> list[int]:
        listed = self._cluster.run("squeue", "-h", f"--name={job.name}", "--format=%A")
        return [int(word) for word in listed.stdout.split()]

    def _hit(self, job: PlannedJob, job_id: int) -> bool:
        """Let a job's blow hit it; return whether there was anything to hit."""
        blow = job.blow
        if blow == "scancel":
            self._cancel(job_id)
            return True
        if blow == SERVER_KILLED:
            return _kill(self._pids_of_server())
        stepds = self._cluster.stepd_pids(job_id)
        children = {pid for stepd in stepds for pid in children_of(stepd)}
        workers = {pid for pid in children if WORKER in command_line(pid)}
        if job.is_served:
            # Whose they are is not to be seen, nor whether one is only ready.
            workers |= {pid for server in self._pids_of_server() for pid in children_of(server)}
        if blow == "worker -9":
            return _kill(workers)
        if blow == "task -9":
            return _kill(children - workers)
        # What slurmstepd would have ended must not run on.
        others = children | workers if "worker" in blow else children - workers
        if not _kill(stepds):
            return False
        _kill(others)
        self._cancel(job_id)
        return True

    def _pids_of_server(self) -> set[int]:
        return set() if self._server.pid is None else {self._server.pid}

    def _cancel(self, job_id: int) -> None:
        self._cluster.run("scancel", str(job_id), check=False)

    def _settle(self, submitted: int) -> Result:
        """Let all end without further faults; return what is left."""
        wait_until(self._blows_left, QUEUE_SECONDS, "end of the blows", accept=lambda n: not n)
        self._site.clear_faults()
        cancelled = self._wait_for_jobs()
        for srun in self._sruns:
            _reap(srun)
        with contextlib.suppress(ClusterError):
            self._cluster.assert_nodes_healthy(HEALTHY_SECONDS)
        # It ends once it has no worker left.
        self._server.stop()
        with contextlib.suppress(WaitTimeoutError):
            wait_until(
                self._processes,
                WORKERS_END_SECONDS,
                "end of all workers",
                accept=lambda lines: not lines,
            )
        # What the first one tells to end, the second one finds gone.
        for _ in range(2):
            released = self._command("release", "--orphaned")
            print(released.stdout + released.stderr, end="", flush=True)
        status = json.loads(self._command("status", "--json").stdout)
        states = self._cluster.run("squeue", "-h", "--array", "--states=all", "--format=%T")
        return Result(
            submitted=submitted,
            states=Counter(states.stdout.split()),
            blows=self._landed,
            faults=Counter(each["fault"] for each in self._site.requests() if each["fault"]),
            sessions=self._site.sessions(),
            entries=status["entries"],
            unreadable=status["unreadable"],
            nodes=self._cluster.node_states(),
            processes=self._processes(),
            cancelled_at_end=cancelled,
            records=self._records(),
            leftovers=[path.name for path in self._state_directory.glob(f"{TEMPORARY_PREFIX}*")],
        )

    def _blows_left(self) -> int:
        self._strike()
        return len(self._blows)

    def _wait_for_jobs(self) -> int:
        """Wait for the end of all jobs; return how many had to be cancelled."""
        try:
            self._cluster.wait_for_empty_queue(SETTLE_SECONDS)
        except WaitTimeoutError:
            left = len(self._cluster.queue())
            self._cluster.cancel_all(SETTLE_SECONDS)
            return left
        return 0

    def _records(self) -> list[dict[str, Any]]:
        if not self._usage_path.exists():
            return []
        return [json.loads(line) for line in self._usage_path.read_text().splitlines()]

    def _processes(self) -> list[str]:
        found = processes_naming(str(self._installation.environment))
        found |= {pid: command_line(pid) for pid in self._cluster.stepd_pids()}
        return [f"{pid} {' '.join(line)}" for pid, line in found.items()]

    def _command(self, *words: str) -> subprocess.CompletedProcess[str]:
        program = self._installation.environment / "bin" / "spank-qrmi"
        state = f"--state-dir={self._state_directory}"
        return self._cluster.run(str(program), *words, state, check=False)


def _kill(pids: set[int]) -> bool:
    """Kill processes, which others reap; return whether there was one."""
    hit = False
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            hit = True
    return hit


def _reap(srun: "subprocess.Popen[str]") -> None:
    try:
        srun.communicate(timeout=SRUN_END_SECONDS)
    except subprocess.TimeoutExpired:
        end_processes([srun.pid])
        srun.communicate()


def main() -> int:
    """Run a soak on a cluster of its own; return 1 if anything was left that must not be."""
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"SOAK_JOBS={options.jobs} SOAK_SEED={options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="spank-qrmi-soak-", dir="/tmp"))
    folder.chmod(0o755)
    installation = Installation(folder)
    started = time.monotonic()
    installation.make("install")
    with (
        SlurmCluster(folder / "cluster", debug="debug2") as cluster,
        Site(folder, munge_socket=cluster.munge_socket) as site,
    ):
        result = Soak(cluster, site, installation, folder).run(
            plan_soak(options.jobs, options.seed)
        )
    installation.make("uninstall")
    print(*result.lines(), f"seconds          {time.monotonic() - started:.0f}", sep="\n")
    problems = result.problems()
    if problems:
        print("make soak: this must not be:", *problems, f"logs: {folder}", sep="\n")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
