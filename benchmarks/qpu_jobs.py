# SPDX-License-Identifier: GPL-3.0-or-later
"""What a QPU costs a job: time to its script, release, memory; beside jobs without one."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from benchmarks.crowded_site import BACKENDS, crowded_config
from benchmarks.job_figures import JOB_SECONDS, SLURMD_DEBUG, JobFigures, JobRunner
from benchmarks.memory import Workers
from benchmarks.testbed import BY_DEFAULT, OURS, SPAWNED, VARIANTS, Testbed, choose_workers
from loopback.cluster import SlurmCluster
from loopback.site import Site
from loopback.socket_unit import SocketUnit
from loopback.tls_entrance import TlsEntrance, tls_entrance_to
from loopback.waiting import wait_until
from spank_qrmi_simulator.qrmi_config import write_config

BY_HTTPS = "by https"
"""By default too, and the services have a certificate of an authority of their own."""
FIRST, NEXT = TURNS = ("first job", "next job")
"""The first job since the node's state was removed; the next one with the same credentials."""
DIRECT_ACCESS, SESSION = "1 Direct Access", "1 Runtime session"
SESSIONS_3, SESSIONS_16 = "3 Runtime sessions", "16 Runtime sessions"
QPUS = {
    DIRECT_ACCESS: ("ibm_torino",),
    SESSION: BACKENDS[:1],
    SESSIONS_3: BACKENDS[:3],
    SESSIONS_16: BACKENDS,
}
IDLE_PROCESSES = ("worker server", "worker that is ready", "its network process")


@dataclass(frozen=True)
class Case:
    """What a job asks for, how long the service takes for each request, and the worker's way."""

    qpus: str
    delay_ms: int
    way: str = BY_DEFAULT

    @property
    def text(self) -> str:
        """What the report says, but for the way."""
        delay = f"{self.delay_ms} ms a request" if self.delay_ms else "no delay"
        return f"{delay}, {self.qpus}"

    @property
    def option(self) -> str:
        """The option of sbatch."""
        return f"--qpu={','.join(QPUS[self.qpus])}"


CASES = tuple(
    Case(qpus, delay_ms, way)
    for delay_ms in (0, 100)
    for qpus, ways in {
        DIRECT_ACCESS: (BY_DEFAULT, BY_HTTPS, SPAWNED),
        SESSION: (BY_DEFAULT, BY_HTTPS, SPAWNED),
        SESSIONS_3: (BY_DEFAULT,),
        SESSIONS_16: (BY_DEFAULT, BY_HTTPS, SPAWNED),
    }.items()
    for way in ways
)


@dataclass
class JobSamples:
    """The figures of all runs of one kind of job."""

    jobs: list[JobFigures] = field(default_factory=list)

    @property
    def to_script_ms(self) -> list[float]:
        """From slurmstepd's first line to the script's."""
        return [job.to_script_ms for job in self.jobs]

    @property
    def release_ms(self) -> list[float]:
        """The exit hook's time, where the log tells it."""
        return [job.release_ms for job in self.jobs if job.release_ms is not None]

    @property
    def own_kb(self) -> list[float]:
        """What slurmstepd has written of its memory, while the script runs."""
        return [job.own_kb for job in self.jobs]

    @property
    def resident_kb(self) -> list[float]:
        """All of slurmstepd's resident memory, while the script runs."""
        return [job.resident_kb for job in self.jobs]


@dataclass(frozen=True)
class MemoryFigures:
    """What workers and their server hold, on a node that has run no QPU job and on one that has.

    `added_kb` is what a job adds to the server at its peak, `spawned_kb` a spawned worker's peak.
    """

    without_qpu_jobs_kb: list[float] = field(default_factory=list)
    idle_kb: list[float] = field(default_factory=list)
    added_kb: list[float] = field(default_factory=list)
    spawned_kb: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class QpuFigures:
    """All that was measured: jobs without QPU by plugin, QPU jobs by case and turn, memory."""

    ordinary: Mapping[str, JobSamples] = field(default_factory=partial(defaultdict, JobSamples))
    acquiring: Mapping[tuple[Case, str], JobSamples] = field(
        default_factory=partial(defaultdict, JobSamples)
    )
    memory: MemoryFigures = field(default_factory=MemoryFigures)


def measure_jobs(testbed: Testbed, runs: int) -> QpuFigures:
    """Run every kind of job in turn, `runs` times."""
    figures, unmeasured = QpuFigures(), QpuFigures()
    folder = testbed.new_folder()
    with (
        testbed.site() as site,
        tls_entrance_to(site.url, testbed.new_folder()) as entrance,
        SlurmCluster(folder, nodes=1, debug=SLURMD_DEBUG) as cluster,
        testbed.worker_server() as server,
    ):
        measuring = _Measuring(
            testbed, cluster, site, _describe_ways(testbed, site, entrance, server)
        )
        # Caches are filled now.
        measuring.run_ordinary_jobs(unmeasured)
        figures.memory.without_qpu_jobs_kb.append(testbed.workers().held_kb())
        measuring.run_qpu_jobs(unmeasured)
        for _ in range(runs):
            measuring.run_ordinary_jobs(figures)
            measuring.run_qpu_jobs(figures)
            measuring.look_at_memory(figures.memory)
    return figures


def _describe_ways(
    testbed: Testbed, site: Site, entrance: TlsEntrance, server: SocketUnit
) -> dict[str, tuple[str, ...]]:
    """Return what plugstack.conf says of our plugin for each way: configuration and arguments."""
    by_https = testbed.new_folder() / "qrmi_config.json"
    write_config(by_https, crowded_config(entrance.url, BACKENDS))
    ready = choose_workers(BY_DEFAULT, server)
    return {
        BY_DEFAULT: (str(site.config_path), ready),
        BY_HTTPS: (str(by_https), ready, f"--env:SSL_CERT_FILE={entrance.certificate}"),
        SPAWNED: (str(site.config_path), choose_workers(SPAWNED, server)),
    }


class _Measuring:
    """Runs jobs; `arguments` are the plugin's for each way."""

    def __init__(
        self,
        testbed: Testbed,
        cluster: SlurmCluster,
        site: Site,
        arguments: Mapping[str, Sequence[str]],
    ) -> None:
        self._testbed = testbed
        self._cluster = cluster
        self._site = site
        self._arguments = arguments
        self._runner = JobRunner(cluster)

    def run_ordinary_jobs(self, figures: QpuFigures) -> None:
        """Run one job without QPU for each variant of the plugin."""
        for variant in VARIANTS:
            self._forget_node_state(variant, BY_DEFAULT)
            figures.ordinary[variant].jobs.append(self._runner.run())

    def run_qpu_jobs(self, figures: QpuFigures) -> None:
        """Run a first job and a next one of each case."""
        for case in CASES:
            self._prepare(case)
            for turn in TURNS:
                figures.acquiring[case, turn].jobs.append(self._runner.run(case.option))

    def look_at_memory(self, figures: MemoryFigures) -> None:
        """See what the idle server holds, and what a job with one session adds."""
        workers = self._testbed.workers()
        server = wait_until(
            workers.pids,
            JOB_SECONDS,
            "idle worker server",
            accept=lambda pids: len(pids) == len(IDLE_PROCESSES),
        )
        idle_kb = workers.held_kb()
        figures.idle_kb.append(idle_kb)
        figures.spawned_kb.append(self._peak_kb(self._testbed.workers(but=server), SPAWNED))
        figures.added_kb.append(self._peak_kb(workers, BY_DEFAULT) - idle_kb)

    def _peak_kb(self, workers: Workers, way: str) -> int:
        case = Case(SESSION, 100, way)
        self._prepare(case)
        return workers.peak_kb(lambda: self._runner.run(case.option))

    def _prepare(self, case: Case) -> None:
        """Let the site take its time, and the node know nothing of earlier jobs."""
        self._site.reset()
        if case.delay_ms:
            self._site.order_fault("delay", "/", delay_seconds=case.delay_ms / 1000)
        self._forget_node_state(OURS, case.way)

    def _forget_node_state(self, variant: str, way: str) -> None:
        """Give the next jobs a state directory of their own."""
        state_directory = self._testbed.new_folder() / "state"
        usage = f"--usage-file={state_directory.parent / 'usage' / 'usage.jsonl'}"
        arguments = (*self._arguments[way], f"--state-dir={state_directory}", usage)
        self._cluster.write_plugstack(*self._testbed.plugstack(variant, *arguments))
