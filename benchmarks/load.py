# SPDX-License-Identifier: GPL-3.0-or-later
"""Hundreds of QPU jobs on one node, as many at a time as Slurm runs."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.crowded_site import LIKE
from benchmarks.job_figures import NODE, SLURMD_DEBUG, StepLog, milliseconds_to_script
from benchmarks.samples import percentile
from benchmarks.testbed import BY_DEFAULT, OURS, SPAWNED, Testbed, choose_workers
from loopback.cluster import SlurmCluster
from loopback.site import Site
from loopback.socket_unit import SocketUnit
from loopback.waiting import wait_until

JOBS = 200
DELAY_MS = 50
WITHOUT_QPU = "without QPU"
KINDS = (WITHOUT_QPU, BY_DEFAULT, SPAWNED)
"""Jobs without QPU, and jobs that take a session each, by where their workers come from."""
MOST_RUNS = 3
LOAD_SECONDS = 300.0
PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class LoadFigures:
    """How the jobs fared; `most_at_once` counts those whose steps were on the node together."""

    to_script_ms: list[float]
    seconds: float
    most_at_once: int
    states: Mapping[str, int]
    token_requests: int
    open_sessions: int

    @property
    def failures(self) -> int:
        """Jobs that did not end well, and sessions that nobody has closed."""
        return JOBS - self.states.get("COMPLETED", 0) + self.open_sessions

    @property
    def jobs_per_second(self) -> float:
        """From the first step's beginning to the last one's end."""
        return JOBS / self.seconds

    @property
    def slowest_to_script_seconds(self) -> float:
        """What 99 of 100 jobs do not exceed."""
        return percentile(self.to_script_ms, 99) / 1000


def measure_load(testbed: Testbed, runs: int) -> dict[str, list[LoadFigures]]:
    """Run 200 jobs of each kind in turn, as often as is asked for and `MOST_RUNS` at most."""
    figures: dict[str, list[LoadFigures]] = {kind: [] for kind in KINDS}
    with testbed.worker_server() as server:
        for _ in range(min(runs, MOST_RUNS)):
            for kind, of_kind in figures.items():
                of_kind.append(_run(testbed, kind, server))
    return figures


def _run(testbed: Testbed, kind: str, server: SocketUnit) -> LoadFigures:
    folder = testbed.new_folder()
    options = [] if kind == WITHOUT_QPU else [f"--qpu={LIKE}"]
    with (
        testbed.site() as site,
        SlurmCluster(folder, nodes=1, debug=SLURMD_DEBUG) as cluster,
    ):

        def forget_node_state() -> None:
            arguments = (
                str(site.config_path),
                f"--state-dir={testbed.new_folder() / 'state'}",
                f"--usage-file={testbed.new_folder() / 'usage.jsonl'}",
                choose_workers(kind, server),
            )
            cluster.write_plugstack(*testbed.plugstack(OURS, *arguments))

        site.order_fault("delay", "/", delay_seconds=DELAY_MS / 1000)
        forget_node_state()
        # Only at its start slurmd looks whether a plugin has an epilog.
        cluster.restart_slurmd(NODE)
        cluster.assert_nodes_healthy()
        # Caches are filled, and the worker server runs, but there will be no access token.
        cluster.submit("true", *options).wait(LOAD_SECONDS)
        forget_node_state()
        return _figures(cluster, site, options)


def _figures(cluster: SlurmCluster, site: Site, options: Sequence[str]) -> LoadFigures:
    tokens_before = site.tokens_issued()
    output = cluster.folder / "output"
    output.mkdir()
    earlier = set(StepLog(cluster).lines())
    jobs = cluster.submit(
        'echo "$SLURM_JOB_ID $EPOCHREALTIME"',
        f"--array=1-{JOBS}",
        f"--output={output}/%a",
        "--time=10",
        *options,
    )
    wait_until(lambda: _is_idle(cluster), LOAD_SECONDS, f"end of {JOBS} jobs")
    told = [path.read_text().split() for path in output.iterdir()]
    # The script of a job that failed has told nothing.
    started = {int(words[0]): float(words[1]) for words in told if words}
    lines = {job: of_job for job, of_job in StepLog(cluster).lines().items() if job not in earlier}
    begun = [of_job[0].at for of_job in lines.values()]
    ended = [of_job[-1].at for of_job in lines.values()]
    of_jobs = ("--array", f"--jobs={jobs.id}", "--states=all", "--format=%T")
    states = cluster.run("squeue", "-h", *of_jobs).stdout
    return LoadFigures(
        to_script_ms=[milliseconds_to_script(lines[job_id], at) for job_id, at in started.items()],
        seconds=max(ended) - min(begun),
        most_at_once=most_at_once(begun, ended),
        states=Counter(states.split()),
        token_requests=site.tokens_issued() - tokens_before,
        open_sessions=len(site.open_sessions()),
    )


def _is_idle(cluster: SlurmCluster) -> bool:
    """Ask after a long pause: there is no CPU to spare."""
    time.sleep(PAUSE_SECONDS)
    return not cluster.queue()


def most_at_once(begun: Sequence[float], ended: Sequence[float]) -> int:
    """Return how many of what begins and ends then were there together."""
    changes = sorted([(at, 1) for at in begun] + [(at, -1) for at in ended])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most
