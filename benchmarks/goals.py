# SPDX-License-Identifier: GPL-3.0-or-later
"""What the project wants to reach, and whether a run of the benchmark has reached it."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.load import (
    JOBS,
    WITH_CACHED_TOKEN,
    WITH_SESSION,
    WITH_WORKER_SERVER,
    LoadFigures,
)
from benchmarks.qpu_jobs import (
    DIRECT_ACCESS,
    FIRST,
    NEXT,
    SERVED_DIRECT_ACCESS,
    SERVED_SESSION,
    SESSION,
    SLOW_3_SESSIONS,
    SLOW_16_SESSIONS,
    SLOW_DIRECT_ACCESS,
    SLOW_SESSION,
    QpuFigures,
)
from benchmarks.results import ByVariant, Results
from benchmarks.samples import Estimate, difference, median, ratio
from benchmarks.testbed import EMPTY, NONE, OURS

KB_PER_MB = 1000
TWO_PAGES_KB = 8

# The established plugin's figures were measured once, when the goals were set.
TO_SCRIPT_GOALS = (
    # case, turn, at most, the established plugin's
    (SLOW_DIRECT_ACCESS, FIRST, 190, "216"),
    (SLOW_DIRECT_ACCESS, NEXT, 150, "216"),
    (SLOW_SESSION, FIRST, 300, "321"),
    (SLOW_SESSION, NEXT, 260, "321"),
    (SLOW_3_SESSIONS, FIRST, 310, "925"),
    (SLOW_3_SESSIONS, NEXT, 270, "925"),
)
RELEASE_MS = 220
RELEASE_GOALS = (
    (SLOW_SESSION, "314"),
    (SLOW_3_SESSIONS, "918"),
    (SLOW_16_SESSIONS, ""),
)
TURN_TEXTS = {FIRST: "first job", NEXT: "next job"}


@dataclass(frozen=True)
class Goal:
    """One goal: at most `limit`; `established` is what the established plugin was measured at."""

    text: str
    unit: str
    limit: float
    measured: Estimate
    established: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the median is within the limit."""
        return self.measured.value <= self.limit

    @property
    def verdict(self) -> str:
        """Whether it is met, and whether the runs agree on that."""
        text = "met" if self.is_met else "missed"
        is_certain = (self.measured.high <= self.limit) or (self.measured.low > self.limit)
        return text if is_certain else f"{text}, within the noise"


def goals(results: Results) -> list[Goal]:
    """Return the goals for all that was measured."""
    found: list[Goal] = []
    if results.srun_ms:
        found.append(_against_empty("`srun true`", 1.02, results.srun_ms))
    if results.jobs is not None:
        found += _goals_of_jobs(results.jobs)
    kinds = ((WITH_SESSION, 1), (WITH_CACHED_TOKEN, 0), (WITH_WORKER_SERVER, 0))
    for kind, most_token_requests in kinds:
        if kind in results.load:
            found += _goals_of_load(kind, results.load[kind], most_token_requests)
    return found


def _against_empty(text: str, limit: float, samples: ByVariant) -> Goal:
    measured = ratio(samples[OURS], samples[EMPTY])
    return Goal(f"{text}: {OURS} / empty C plugin", "", limit, measured)


def _goals_of_jobs(jobs: QpuFigures) -> list[Goal]:
    ordinary = jobs.ordinary
    no_plugin_ms = ordinary[NONE].to_script_ms
    first = {case: jobs.acquiring[case, FIRST] for case, _ in jobs.acquiring}
    own = difference(ordinary[OURS].own_kb, ordinary[EMPTY].own_kb)
    found = [
        Goal(
            "slurmstepd's own memory, job without QPU: ours more than empty C plugin",
            "kB",
            TWO_PAGES_KB,
            own,
        )
    ]
    found += [
        Goal(
            f"100 ms a request, {case.name}, {TURN_TEXTS[turn]}: time to script",
            "ms",
            limit,
            median(jobs.acquiring[case, turn].to_script_ms),
            established,
        )
        for case, turn, limit, established in TO_SCRIPT_GOALS
    ]
    found.append(
        Goal(
            "100 ms a request: 16 sessions / 1 session, time to script",
            "",
            1.3,
            ratio(first[SLOW_16_SESSIONS].to_script_ms, first[SLOW_SESSION].to_script_ms),
        )
    )
    found += [
        Goal(
            f"100 ms a request, {case.name}: release",
            "ms",
            RELEASE_MS,
            median(first[case].release_ms),
            established,
        )
        for case, established in RELEASE_GOALS
    ]
    found += [
        Goal(
            f"no delay, {case.name}: more to script than without a plugin",
            "ms",
            35,
            difference(first[case].to_script_ms, no_plugin_ms),
            "4",
        )
        for case in (DIRECT_ACCESS, SESSION, SERVED_DIRECT_ACCESS, SERVED_SESSION)
    ]
    qpu_kb = first[SLOW_SESSION].resident_kb
    found += [
        Goal(
            "slurmstepd of a QPU job: more than of one without",
            "kB",
            100,
            difference(qpu_kb, ordinary[OURS].resident_kb),
            "7400",
        ),
        Goal("worker's peak", "MB", 25, _megabytes(jobs.worker_peak_kb)),
    ]
    return found


def _megabytes(samples_kb: Sequence[float]) -> Estimate:
    return median([each / KB_PER_MB for each in samples_kb])


def _goals_of_load(kind: str, figures: LoadFigures, most_token_requests: int) -> list[Goal]:
    what = f"{JOBS} jobs, {kind}"
    return [
        Goal(f"{what}: failed jobs and open sessions", "", 0, _exactly(figures.failures)),
        Goal(f"{what}: token requests", "", most_token_requests, _exactly(figures.token_requests)),
    ]


def _exactly(count: int) -> Estimate:
    return Estimate(count, count, count)
