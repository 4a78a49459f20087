# SPDX-License-Identifier: GPL-3.0-or-later
"""Hundreds of QPU jobs on one node, as many at a time as Slurm runs."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.crowded_site import LIKE
from benchmarks.job_figures import NODE, SLURMD_DEBUG, StepLog, milliseconds_to_script
from benchmarks.testbed import OURS, Testbed
from loopback.cluster import SlurmCluster
from loopback.site import Site
from loopback.waiting import wait_until

JOBS = 200
DELAY_MS = 50
WITHOUT_QPU, WITH_SESSION = "without QPU", "1 Runtime session each"
WITH_CACHED_TOKEN = f"{WITH_SESSION}, token cached"
WITH_WORKER_SERVER = f"{WITH_CACHED_TOKEN}, worker server"
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


def measure_load(testbed: Testbed) -> dict[str, LoadFigures]:
    """Run 200 jobs without QPU, and 200 that take a session each, in three ways."""
    with testbed.worker_server() as unit:
        argument = f"--worker-server={unit.path}"
        return {
            WITHOUT_QPU: _run(testbed),
            WITH_SESSION: _run(testbed, f"--qpu={LIKE}"),
            WITH_CACHED_TOKEN: _run(testbed, f"--qpu={LIKE}", has_token=True),
            WITH_WORKER_SERVER: _run(testbed, f"--qpu={LIKE}", argument=argument, has_token=True),
        }


def _run(
    testbed: Testbed, *options: str, argument: str = "", has_token: bool = False
) -> LoadFigures:
    folder = testbed.new_folder()
    with (
        testbed.site() as site,
        SlurmCluster(folder, nodes=1, debug=SLURMD_DEBUG) as cluster,
    ):
        site.order_fault("delay", "/", delay_seconds=DELAY_MS / 1000)
        state_directory = testbed.new_folder() / "state"
        lines = testbed.plugstack(OURS, site.config_path, state_directory, argument)
        cluster.write_plugstack(*lines)
        # Only at its start slurmd looks whether a plugin has an epilog.
        cluster.restart_slurmd(NODE)
        cluster.assert_nodes_healthy()
        if has_token:
            cluster.submit("true", *options).wait(LOAD_SECONDS)
        return _figures(cluster, site, options)


def _figures(cluster: SlurmCluster, site: Site, options: tuple[str, ...]) -> LoadFigures:
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
