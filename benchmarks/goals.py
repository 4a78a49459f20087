# SPDX-License-Identifier: GPL-3.0-or-later
"""What the project wants to reach, and whether a run of the benchmark has reached it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.load import DELAY_MS, JOBS, LoadFigures
from benchmarks.monitor_rounds import (
    CHANGED,
    OTHER,
    QPUS,
    SAME,
    WITH_CATALOG,
    WITHOUT_CATALOG,
    MonitorFigures,
)
from benchmarks.qpu_jobs import (
    DIRECT_ACCESS,
    FIRST,
    NEXT,
    SESSION,
    SESSIONS_3,
    SESSIONS_16,
    Case,
    MemoryFigures,
    QpuFigures,
)
from benchmarks.results import Results
from benchmarks.samples import Estimate, difference, median, ratio
from benchmarks.testbed import BY_DEFAULT, EMPTY, NONE, OURS, SPAWNED

KB_PER_MB = 1000


@dataclass(frozen=True)
class Goal:
    """One goal: at most `limit`, or at least that.

    `measure` returns None if its part was not measured; `established` is what the established
    plugin took, measured once, when the goals were set.
    """

    text: str
    limit: float
    unit: str
    measure: Callable[[Results], Estimate | None]
    established: float | None = None
    is_at_least: bool = False


@dataclass(frozen=True)
class Judgement:
    """A goal, and what was measured for it."""

    goal: Goal
    measured: Estimate

    @property
    def is_met(self) -> bool:
        """Whether the median is within the limit."""
        return self._is_within(self.measured.value)

    @property
    def verdict(self) -> str:
        """Whether it is met, and whether the runs agree on that."""
        text = "met" if self.is_met else "missed"
        ends = (self.measured.low, self.measured.high)
        is_certain = all(self._is_within(end) == self.is_met for end in ends)
        return text if is_certain else f"{text}, within the noise"

    def _is_within(self, value: float) -> bool:
        limit = self.goal.limit
        return value >= limit if self.goal.is_at_least else value <= limit


def judge(results: Results) -> list[Judgement]:
    """Return the goals of all that was measured, in their order."""
    measured = [(goal, goal.measure(results)) for goal in GOALS]
    return [Judgement(goal, figure) for goal, figure in measured if figure is not None]


def name_to_script(case: Case, turn: str) -> str:
    """Return what the goal for a job's time to its script is called."""
    return f"{name_job(case, turn)}: time to script"


def name_release(case: Case, turn: str) -> str:
    """Return what the goal for a job's release is called."""
    return f"{name_job(case, turn)}: release"


def name_job(case: Case, turn: str) -> str:
    """Return what a job is called in goals and picture."""
    way = "" if case.way == BY_DEFAULT else f", {case.way}"
    return f"{case.text}, {turn}{way}"


def _limit_to_script(
    case: Case, turn: str, limit_ms: float, established_ms: float | None = None
) -> Goal:
    def measure(jobs: QpuFigures) -> Estimate:
        return median(jobs.acquiring[case, turn].to_script_ms)

    return Goal(name_to_script(case, turn), limit_ms, "ms", _look_at_jobs(measure), established_ms)


def _limit_more_to_script(case: Case, turn: str, limit_ms: float, established_ms: float) -> Goal:
    def measure(jobs: QpuFigures) -> Estimate:
        without = jobs.ordinary[NONE].to_script_ms
        return difference(jobs.acquiring[case, turn].to_script_ms, without)

    text = f"{name_job(case, turn)}: more to script than without a plugin"
    return Goal(text, limit_ms, "ms", _look_at_jobs(measure), established_ms)


def _limit_release(case: Case, turn: str, limit_ms: float, established_ms: float) -> Goal:
    def measure(jobs: QpuFigures) -> Estimate:
        return median(jobs.acquiring[case, turn].release_ms)

    return Goal(name_release(case, turn), limit_ms, "ms", _look_at_jobs(measure), established_ms)


def _look_at_jobs(
    measure: Callable[[QpuFigures], Estimate],
) -> Callable[[Results], Estimate | None]:
    return lambda results: None if results.jobs is None else measure(results.jobs)


def _limit_memory(
    text: str, limit_mb: float, samples_kb: Callable[[MemoryFigures], Sequence[float]]
) -> Goal:
    def measure(jobs: QpuFigures) -> Estimate:
        return median([each / KB_PER_MB for each in samples_kb(jobs.memory)])

    return Goal(f"memory: {text}", limit_mb, "MB", _look_at_jobs(measure))


def _expect_under_load(
    text: str,
    limit: float,
    figure: Callable[[LoadFigures], float],
    unit: str = "",
    *,
    is_at_least: bool = False,
) -> Goal:
    def measure(runs: Sequence[LoadFigures]) -> Estimate:
        return median([figure(run) for run in runs])

    text = f"{JOBS} QPU jobs at once, {DELAY_MS} ms a request: {text}"
    return Goal(text, limit, unit, _look_at_load(measure), is_at_least=is_at_least)


def _limit_count_under_load(text: str, limit: int, count: Callable[[LoadFigures], int]) -> Goal:
    def measure(runs: Sequence[LoadFigures]) -> Estimate:
        # A median would hide the one run that lost something.
        return median([max(count(run) for run in runs)])

    text = f"{JOBS} QPU jobs at once, {DELAY_MS} ms a request: {text}"
    return Goal(text, limit, "", _look_at_load(measure))


def _look_at_load(
    measure: Callable[[Sequence[LoadFigures]], Estimate],
) -> Callable[[Results], Estimate | None]:
    return lambda results: measure(results.load[BY_DEFAULT]) if results.load else None


def _limit_monitor(
    text: str, limit: float, unit: str, measure: Callable[[MonitorFigures], Estimate]
) -> Goal:
    def of_results(results: Results) -> Estimate | None:
        return None if results.monitor is None else measure(results.monitor)

    return Goal(f"monitor, {QPUS:,} QPUs: {text}", limit, unit, of_results)


def _compare_sbatch(monitor: MonitorFigures) -> Estimate:
    samples = monitor.sbatch_ms
    return difference(samples[WITH_CATALOG], samples[WITHOUT_CATALOG])


def _compare_srun(results: Results) -> Estimate | None:
    samples = results.srun_ms
    return ratio(samples[OURS], samples[EMPTY]) if samples else None


def _compare_own_kb(jobs: QpuFigures) -> Estimate:
    return difference(jobs.ordinary[OURS].own_kb, jobs.ordinary[EMPTY].own_kb)


GOALS = (
    Goal("`srun true`: ours / empty C plugin", 1.02, "", _compare_srun),
    Goal(
        "job without QPU, slurmstepd's own memory: more than with the empty C plugin",
        8,
        "kB",
        _look_at_jobs(_compare_own_kb),
    ),
    # case, turn, at most, the established plugin's
    _limit_to_script(Case(SESSIONS_16, 0), FIRST, 55, 58),
    _limit_more_to_script(Case(DIRECT_ACCESS, 0), FIRST, 15, 6),
    _limit_more_to_script(Case(SESSION, 0), FIRST, 15, 6),
    _limit_to_script(Case(DIRECT_ACCESS, 100), FIRST, 225, 216),
    _limit_to_script(Case(DIRECT_ACCESS, 100), NEXT, 120, 216),
    _limit_to_script(Case(SESSION, 100), NEXT, 122, 319),
    _limit_to_script(Case(SESSIONS_3, 100), NEXT, 125, 927),
    _limit_to_script(Case(SESSIONS_16, 100), NEXT, 160, 4908),
    _limit_release(Case(SESSION, 100), NEXT, 118, 310),
    _limit_release(Case(SESSIONS_16, 100), NEXT, 145, 4890),
    _limit_to_script(Case(DIRECT_ACCESS, 0, SPAWNED), FIRST, 200),
    _limit_to_script(Case(SESSION, 0, SPAWNED), FIRST, 200),
    _limit_memory("what a job adds to the server at its peak", 8, lambda found: found.added_kb),
    _limit_memory("idle server", 32, lambda found: found.idle_kb),
    _limit_memory("node without QPU jobs", 0, lambda found: found.without_qpu_jobs_kb),
    _expect_under_load("jobs a second", 15, lambda run: run.jobs_per_second, is_at_least=True),
    _expect_under_load(
        "time to script of 99 of 100", 2, lambda run: run.slowest_to_script_seconds, "s"
    ),
    _limit_count_under_load("token requests", 1, lambda run: run.token_requests),
    _limit_count_under_load("failed jobs and open sessions", 0, lambda run: run.failures),
    _limit_monitor("a round", 5, "s", lambda found: median(found.seconds[SAME])),
    _limit_monitor(
        "its memory at its peak",
        100,
        "MB",
        lambda found: median([each / KB_PER_MB for each in found.peak_kb]),
    ),
    _limit_monitor(
        f"commands to slurmctld, {SAME}", 2, "", lambda found: median([max(found.commands[SAME])])
    ),
    _limit_monitor(
        f"commands to slurmctld, {OTHER}",
        2 + CHANGED,
        "",
        lambda found: median([max(found.commands[OTHER])]),
    ),
    _limit_monitor("sbatch: more with their catalog than without", 1, "ms", _compare_sbatch),
)
