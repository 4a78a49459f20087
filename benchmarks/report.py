# SPDX-License-Identifier: GPL-3.0-or-later
"""REPORT.md: the goals, all medians with their spread, and how they were measured."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from benchmarks.goals import Judgement, judge
from benchmarks.load import DELAY_MS, JOBS, WITHOUT_QPU, LoadFigures
from benchmarks.monitor_rounds import QPUS, MonitorFigures
from benchmarks.plugin_costs import DLOPENS_PER_RUN, SBATCHES_PER_RUN, SRUNS_PER_RUN
from benchmarks.qpu_jobs import (
    BY_HTTPS,
    CASES,
    FIRST,
    IDLE_PROCESSES,
    SESSION,
    TURNS,
    Case,
    JobSamples,
    QpuFigures,
)
from benchmarks.results import ByVariant, Results
from benchmarks.samples import Estimate, ratio, spread
from benchmarks.testbed import BY_DEFAULT, EMPTY, NONE, OPTION, OURS, QRUN, SPAWNED

HEAD = """<!-- SPDX-License-Identifier: GPL-3.0-or-later -->
# What the plugin costs

Written by `make bench`. Runs of what is compared take turns. A figure is the median of its runs,
with the quartiles in parentheses; an interval in brackets holds the figure with 95 % confidence.
"""

DISTURBED = """
**The machine was busy with other work too**: times are too long and rates too low, and say little.
"""

METHOD = f"""## How it is measured

- *Empty C plugin*: `empty_plugin.c`, with the hooks of `spank_qrmi.so`, each of which returns 0.
- *C plugin with an option*: `option_plugin.c`, which registers the option of `spank_qrmi.so`,
  writes its log lines and does nothing else: what Slurm itself does for an option is not ours.
- *Instructions*: callgrind counts what the slurmstepd of a batch step executes in libslurm's SPANK
  functions and below: reading plugstack.conf, loading, all hooks outside of the task. The job has
  few variables; for each option of a plugin Slurm looks through all of them.
- A run has {DLOPENS_PER_RUN} loads, {SRUNS_PER_RUN} of srun, and {SBATCHES_PER_RUN} held jobs for
  sbatch, one after the other.
- *Time to script*: from slurmstepd's first line in slurmd's log to the script's first line. That
  log knows milliseconds. *Release*: from the beginning of the exit hook to its end in that log.
- *By default*: workers come from a worker server that has served before, as systemd starts it.
  *By https*: the same, and the site has a certificate of its own authority, which `--env:` names;
  an entrance before the site that takes off TLS needs some of that time. *Spawned*: slurmstepd
  starts the workers (`--worker-server=none`).
- *First job*: nothing of the node's state is left from jobs before. *Next job*: the one after it,
  with the same credentials.
- *Established plugin*: measured once, on a machine like this one, when the goals were set. It
  asks one service after the other, and for a new access token each time.
- *Resident memory*: Rss in smaps_rollup while the script runs. From one slurmstepd to the next it
  differs by some 100 kB, since the kernel maps what is just cached of the system's libraries.
  *Its own*: Anonymous there, what it has written; one goal compares that.
- *Memory of the worker server*: the sum of Pss in smaps_rollup over all processes whose program
  is of the worker's environment. A page that several of them share counts once. What of Python and
  of the system's libraries other programs map too, here site and benchmark, counts in part: it is
  up to 10 MB more where none does. *Idle*: {", ".join(IDLE_PROCESSES)}. *At its peak*: read as
  fast as possible from the submission of a job to its end, with the pair that is forked for the
  next job. *Node without QPU jobs*: after ordinary jobs, before any other.
- *Under load*: the node has no access token; of the counts, the worst run's.
- *Monitor*: `spank-qrmi monitor --once`, from its start to its end, with the catalog published,
  for a site whose backends are of one service and have a licence each. Memory is Pss as above,
  of a round apart from those whose time is taken. Submitted are held jobs with the last QPU of the
  catalog.
- The service is the simulated site on the same machine, by HTTP, and delays each request.
"""


def report(results: Results, plot_name: str | None) -> str:
    """Return the report as Markdown; `plot_name` is the image beside it."""
    parts = [
        HEAD + DISTURBED if results.is_disturbed else HEAD,
        _machine(results),
        _goals(judge(results)),
    ]
    if plot_name is not None:
        parts.append(f"![time to script and release]({plot_name})\n")
    parts += [_plugin_costs(results), _instructions(results.instructions)]
    if results.jobs is not None:
        parts += [_qpu_jobs(results.jobs), _memory(results.jobs)]
    if results.load:
        parts.append(_load(results))
    if results.monitor is not None:
        parts.append(_monitor(results.monitor))
    return "\n".join([part for part in parts if part] + [METHOD])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, all columns but the first aligned to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value: float) -> str:
    """Return a figure with three digits or, above that, without a fraction."""
    if value == int(value) or abs(value) >= 100:  # noqa: PLR2004 (three digits)
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"  # noqa: PLR2004 (three digits)


def with_quartiles(samples: Sequence[float]) -> str:
    """Return the median with its quartiles, which say nothing if they are the same."""
    if not samples:
        return ""
    found = spread(samples)
    if found.low_quartile == found.high_quartile:
        return number(found.median)
    return f"{number(found.median)} ({number(found.low_quartile)} to {number(found.high_quartile)})"


def with_interval(measured: Estimate, unit: str = "") -> str:
    """Return a figure with its interval, unless that has no width."""
    text = f"{number(measured.value)} {unit}".rstrip()
    if measured.low == measured.high:
        return text
    return f"{text} [{number(measured.low)} to {number(measured.high)}]"


def _machine(results: Results) -> str:
    loads = ", ".join(f"{load:.1f}" for load in results.loads)
    rows = [
        *results.machine.items(),
        ("Load before each part", loads),
        ("Runs", str(results.runs)),
    ]
    return "## Machine\n\n" + table(("", ""), rows)


def _goals(judgements: Sequence[Judgement]) -> str:
    if not judgements:
        return ""
    rows = [_goal_columns(judgement) for judgement in judgements]
    head = ("Goal", "Limit", "Measured", "", "established plugin")
    return "## Goals\n\n" + table(head, rows)


def _goal_columns(judgement: Judgement) -> tuple[str, ...]:
    goal = judgement.goal
    sign = "≥" if goal.is_at_least else "≤"
    return (
        goal.text,
        f"{sign} {number(goal.limit)} {goal.unit}".rstrip(),
        with_interval(judgement.measured, goal.unit),
        judgement.verdict if judgement.is_met else f"**{judgement.verdict}**",
        "" if goal.established is None else f"{number(goal.established)} {goal.unit}",
    )


def _plugin_costs(results: Results) -> str:
    measured: list[tuple[str, ByVariant]] = [
        ("loading by dlopen, µs", results.dlopen_us),
        ("slurmstepd's instructions in loading and hooks", results.instructions),
        ("`srun true`, ms", results.srun_ms),
        ("sbatch, jobs a second", results.sbatch_per_second),
    ]
    if results.jobs is not None:
        ordinary = results.jobs.ordinary.items()
        measured += [
            ("time to script, ms", {each: jobs.to_script_ms for each, jobs in ordinary}),
            ("slurmstepd, resident kB", {each: jobs.resident_kb for each, jobs in ordinary}),
            ("of that its own, kB", {each: jobs.own_kb for each, jobs in ordinary}),
        ]
    rows = [
        (
            text,
            *(with_quartiles(samples.get(variant, ())) for variant in (NONE, EMPTY, OURS)),
            with_interval(ratio(samples[OURS], samples[EMPTY])),
        )
        for text, samples in measured
        if samples
    ]
    if not rows:
        return ""
    head = ("", "no plugin", "empty C plugin", "ours", "ours / empty")
    return "## Jobs that ask for no QPU\n\n" + table(head, rows)


def _instructions(samples: ByVariant) -> str:
    plugins = {
        EMPTY: "empty C plugin",
        OPTION: "C plugin with an option",
        OURS: "`spank_qrmi.so`, one option",
        QRUN: "`spank_ibm_qrun.so`, two options",
    }
    rows = [
        (
            text,
            with_quartiles(samples[variant]),
            *(with_interval(ratio(samples[variant], samples[base])) for base in (EMPTY, OPTION)),
        )
        for variant, text in plugins.items()
        if samples
    ]
    if not rows:
        return ""
    head = ("", "instructions", "/ empty C plugin", "/ C plugin with an option")
    return "### slurmstepd's instructions in loading and hooks\n\n" + table(head, rows)


def _qpu_jobs(jobs: QpuFigures) -> str:
    without = ("no QPU, no plugin", with_quartiles(jobs.ordinary[NONE].to_script_ms), "", "")
    return (
        "## Jobs with QPUs\n\n"
        + _by_way("time to script, ms", jobs, lambda samples: samples.to_script_ms, without)
        + "\n"
        + _by_way("release, ms", jobs, lambda samples: samples.release_ms)
    )


def _by_way(
    what: str,
    jobs: QpuFigures,
    figure: Callable[[JobSamples], Sequence[float]],
    *more: Sequence[str],
) -> str:
    """Return a table of one figure of all cases, with a column for each way."""
    ways = (BY_DEFAULT, BY_HTTPS, SPAWNED)
    rows = [
        (
            f"{case.text}, {turn}",
            *(
                with_quartiles(figure(jobs.acquiring[replace(case, way=way), turn]))
                if replace(case, way=way) in CASES
                else ""
                for way in ways
            ),
        )
        for case in CASES
        if case.way == BY_DEFAULT
        for turn in TURNS
    ]
    return table((what, *ways), [*more, *rows])


def _memory(jobs: QpuFigures) -> str:
    of_qpu_job = jobs.acquiring[Case(SESSION, 100), FIRST]
    ordinary = jobs.ordinary[OURS]
    samples_kb = {
        "slurmstepd, job without QPU": ordinary.resident_kb,
        "slurmstepd, 1 Runtime session": of_qpu_job.resident_kb,
        "slurmstepd, job without QPU, its own": ordinary.own_kb,
        "slurmstepd, 1 Runtime session, its own": of_qpu_job.own_kb,
        "worker server, node without QPU jobs": jobs.memory.without_qpu_jobs_kb,
        "worker server, idle": jobs.memory.idle_kb,
        "what a job with 1 Runtime session adds to it at its peak": jobs.memory.added_kb,
        "spawned worker that acquires 1 Runtime session, peak": jobs.memory.spawned_kb,
    }
    rows = [(text, with_quartiles(samples)) for text, samples in samples_kb.items()]
    return "### Memory\n\n" + table(("", "kB"), rows)


def _load(results: Results) -> str:
    rows = [
        (kind if kind == WITHOUT_QPU else f"{SESSION} each, {kind}", *_load_columns(runs))
        for kind, runs in results.load.items()
    ]
    head = (
        *(f"{JOBS} jobs", "jobs a second", "most at once", "to script, median s", "99 of 100, s"),
        *("token requests", "failures"),
    )
    [count] = {len(runs) for runs in results.load.values()}
    text = f"One array on one node, {DELAY_MS} ms a request; runs: {count}.\n\n"
    return "## Under load\n\n" + text + table(head, rows)


def _monitor(figures: MonitorFigures) -> str:
    rounds = [
        (text, with_quartiles(figures.seconds[text]), with_quartiles(figures.commands[text]))
        for text in figures.seconds
    ]
    rows = [(text, with_quartiles(samples)) for text, samples in figures.sbatch_ms.items()]
    return (
        f"## The monitor, {QPUS:,} QPUs\n\n"
        + table(("a round", "seconds", "commands to slurmctld"), rounds)
        + f"\nIts memory at its peak: {with_quartiles(figures.peak_kb)} kB.\n\n"
        + table(("sbatch with a QPU", "ms"), rows)
    )


def _load_columns(runs: Sequence[LoadFigures]) -> tuple[str, ...]:
    return (
        with_quartiles([run.jobs_per_second for run in runs]),
        with_quartiles([run.most_at_once for run in runs]),
        with_quartiles([spread(run.to_script_ms).median / 1000 for run in runs]),
        with_quartiles([run.slowest_to_script_seconds for run in runs]),
        number(max(run.token_requests for run in runs)),
        number(max(run.failures for run in runs)),
    )
