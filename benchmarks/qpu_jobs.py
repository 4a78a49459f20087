# SPDX-License-Identifier: GPL-3.0-or-later
"""What a QPU costs a job: time to its script, release, memory; beside jobs without one."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from benchmarks.crowded_site import BACKENDS
from benchmarks.job_figures import SLURMD_DEBUG, JobFigures, JobRunner
from benchmarks.testbed import OURS, VARIANTS, Testbed
from loopback.cluster import SlurmCluster
from loopback.site import Site
from loopback.socket_unit import SocketUnit

FIRST, NEXT = TURNS = ("first", "next")
"""The first job since the node's state was removed; the next one with the same credentials."""


@dataclass(frozen=True)
class Case:
    """What a job asks for, how long the service takes for each request, and whose turns count.

    `is_served` says whether its worker comes from a worker server.
    """

    name: str
    delay_ms: int
    qpus: tuple[str, ...]
    turns: tuple[str, ...] = (FIRST,)
    is_served: bool = False

    @property
    def option(self) -> str:
        """The option of sbatch."""
        return f"--qpu={','.join(self.qpus)}"


DIRECT_ACCESS = Case("1 Direct Access", 0, ("ibm_torino",))
SESSION = Case("1 Runtime session", 0, BACKENDS[:1])
SLOW_DIRECT_ACCESS = Case("1 Direct Access", 100, ("ibm_torino",), TURNS)
SLOW_SESSION = Case("1 Runtime session", 100, BACKENDS[:1], TURNS)
SLOW_3_SESSIONS = Case("3 Runtime sessions", 100, BACKENDS[:3], TURNS)
SLOW_16_SESSIONS = Case("16 Runtime sessions", 100, BACKENDS)
SERVED_DIRECT_ACCESS, SERVED_SESSION, SERVED_SLOW_DIRECT_ACCESS, SERVED_SLOW_SESSION = SERVED = [
    replace(case, name=f"{case.name}, worker server", is_served=True)
    for case in (DIRECT_ACCESS, SESSION, SLOW_DIRECT_ACCESS, SLOW_SESSION)
]
CASES = (
    *(DIRECT_ACCESS, SESSION),
    *(SLOW_DIRECT_ACCESS, SLOW_SESSION, SLOW_3_SESSIONS, SLOW_16_SESSIONS),
    *SERVED,
)


@dataclass
class JobSamples:
    """The figures of all runs of one kind of job."""

    jobs: list[JobFigures] = field(default_factory=list)
    token_requests: list[float] = field(default_factory=list)

    @property
    def to_script_ms(self) -> list[float]:
        """From slurmstepd's first line to the script's."""
        return [job.to_script_ms for job in self.jobs]

    @property
    def release_ms(self) -> list[float]:
        """The exit hook's time, where the log tells it."""
        return [job.release_ms for job in self.jobs if job.release_ms is not None]

    @property
    def acquisition_cpu_ms(self) -> list[float]:
        """What the worker has used before the script."""
        return [job.acquisition_cpu_ms for job in self.jobs]

    @property
    def own_kb(self) -> list[float]:
        """What slurmstepd has written of its memory, while the script runs."""
        return [job.own_kb for job in self.jobs]

    @property
    def resident_kb(self) -> list[float]:
        """All of slurmstepd's resident memory, while the script runs."""
        return [job.resident_kb for job in self.jobs]


@dataclass(frozen=True)
class QpuFigures:
    """All that was measured: jobs without QPU by plugin, QPU jobs by case and turn."""

    ordinary: Mapping[str, JobSamples]
    acquiring: Mapping[tuple[Case, str], JobSamples]
    worker_peak_kb: list[float]
    worker_server_kb: list[float]


def measure_jobs(testbed: Testbed, runs: int) -> QpuFigures:
    """Run every kind of job in turn, `runs` times."""
    figures = _no_figures()
    folder = testbed.new_folder()
    with (
        testbed.site() as site,
        SlurmCluster(folder, nodes=1, debug=SLURMD_DEBUG) as cluster,
        testbed.worker_server() as worker_server,
    ):
        measuring = _Measuring(testbed, cluster, site, worker_server)
        measuring.run_all(_no_figures())  # Caches are filled now.
        for _ in range(runs):
            measuring.run_all(figures)
            figures.worker_peak_kb.append(measuring.worker_peak_kb())
            figures.worker_server_kb.append(measuring.worker_server_kb())
    return figures


def _no_figures() -> QpuFigures:
    return QpuFigures(defaultdict(JobSamples), defaultdict(JobSamples), [], [])


class _Measuring:
    def __init__(
        self, testbed: Testbed, cluster: SlurmCluster, site: Site, worker_server: SocketUnit
    ) -> None:
        self._testbed = testbed
        self._worker_server = worker_server
        self._cluster = cluster
        self._site = site
        self._runner = JobRunner(cluster)

    def run_all(self, figures: QpuFigures) -> None:
        """Run one job of each kind."""
        self._set_delay(0)
        for variant in VARIANTS:
            self._forget_node_state(variant)
            figures.ordinary[variant].jobs.append(self._runner.run())
        for case in CASES:
            self._set_delay(case.delay_ms)
            self._forget_node_state(is_served=case.is_served)
            for turn in case.turns:
                before = self._site.tokens_issued()
                samples = figures.acquiring[case, turn]
                samples.jobs.append(self._runner.run(case.option))
                samples.token_requests.append(self._site.tokens_issued() - before)

    def worker_peak_kb(self) -> float:
        """Return the memory of the workers that acquire a session of a slow service."""
        self._set_delay(SLOW_SESSION.delay_ms)
        self._forget_node_state()
        workers = self._testbed.workers(but=self._testbed.workers().pids())
        return workers.peak_kb(lambda: self._runner.run(SLOW_SESSION.option))

    def worker_server_kb(self) -> float:
        """Return the memory of the worker server while it waits."""
        return self._testbed.workers().held_kb()

    def _set_delay(self, milliseconds: int) -> None:
        self._site.reset()
        if milliseconds:
            self._site.order_fault("delay", "/", delay_seconds=milliseconds / 1000)

    def _forget_node_state(self, variant: str = OURS, *, is_served: bool = False) -> None:
        """Give the next jobs a state directory of their own."""
        state_directory = self._testbed.new_folder() / "state"
        more = [f"--worker-server={self._worker_server.path}"] if is_served else []
        lines = self._testbed.plugstack(variant, self._site.config_path, state_directory, *more)
        self._cluster.write_plugstack(*lines)
