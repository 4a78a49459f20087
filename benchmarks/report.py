# SPDX-License-Identifier: GPL-3.0-or-later
"""REPORT.md: the goals, all medians with their spread, and how they were measured."""

from collections.abc import Iterable, Sequence

from benchmarks.goals import KB_PER_MB, TURN_TEXTS, Goal, goals
from benchmarks.load import DELAY_MS, JOBS, LoadFigures
from benchmarks.plugin_costs import DLOPENS_PER_RUN, SBATCHES_PER_RUN, SRUNS_PER_RUN
from benchmarks.qpu_jobs import FIRST, SLOW_SESSION, QpuFigures
from benchmarks.results import ByVariant, Results
from benchmarks.samples import Estimate, percentile, ratio, spread
from benchmarks.testbed import EMPTY, NONE, OPTION, OURS, QRUN

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
- *Worker server*: workers come from one that has served before (`--worker-server=`). Without it,
  slurmstepd starts them.
- *Worker's CPU*: of all processes that slurmstepd has waited for when the script starts, in the
  kernel's ticks. Other work on the machine changes it much less than the times.
- *First job*: nothing of the node's state is left from jobs before. *Next job*: the one after it,
  with the same credentials.
- *Resident memory*: Rss in smaps_rollup while the script runs. From one slurmstepd to the next it
  differs by some 100 kB, since the kernel maps what is just cached of the system's libraries.
  *Its own*: Anonymous there, what it has written; one goal compares that.
  *Worker's peak*, *worker server*: the sum of Pss there over all processes whose program is of the
  worker's environment, so that a page that several of them share counts once.
- The service is the simulated site on the same machine, by HTTP, and delays each request.
"""


def report(results: Results, plot_name: str | None) -> str:
    """Return the report as Markdown; `plot_name` is the image beside it."""
    parts = [
        HEAD + DISTURBED if results.is_disturbed else HEAD,
        _machine(results),
        _goals(goals(results)),
    ]
    if plot_name is not None:
        parts.append(f"![time to script and release]({plot_name})\n")
    parts += [_plugin_costs(results), _instructions(results.instructions)]
    if results.jobs is not None:
        parts += [_qpu_jobs(results.jobs), _memory(results.jobs)]
    if results.load:
        parts.append(_load(results))
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


def _goals(found: Sequence[Goal]) -> str:
    if not found:
        return ""
    rows = [
        (
            goal.text,
            f"≤ {number(goal.limit)} {goal.unit}".rstrip(),
            with_interval(goal.measured, goal.unit),
            goal.verdict if goal.is_met else f"**{goal.verdict}**",
            goal.established,
        )
        for goal in found
    ]
    head = ("Goal", "Limit", "Measured", "", "established plugin")
    return "## Goals\n\n" + table(head, rows)


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
    rows = [
        ("no QPU, no plugin", "", "", with_quartiles(jobs.ordinary[NONE].to_script_ms), "", "", "")
    ]
    rows += [
        (
            case.name,
            f"{case.delay_ms} ms",
            TURN_TEXTS[turn],
            with_quartiles(samples.to_script_ms),
            with_quartiles(samples.release_ms),
            with_quartiles([] if case.is_served else samples.acquisition_cpu_ms),
            with_quartiles(samples.token_requests),
        )
        for (case, turn), samples in jobs.acquiring.items()
    ]
    head = (
        *("QPUs", "a request", "on the node", "to script, ms", "release, ms"),
        *("worker's CPU before the script, ms", "token requests"),
    )
    return "## Jobs with QPUs\n\n" + table(head, rows)


def _memory(jobs: QpuFigures) -> str:
    of_qpu_job = jobs.acquiring[SLOW_SESSION, FIRST]
    peak_mb = [each / KB_PER_MB for each in jobs.worker_peak_kb]
    server_mb = [each / KB_PER_MB for each in jobs.worker_server_kb]
    rows = [
        (
            "slurmstepd, job without QPU, resident kB",
            with_quartiles(jobs.ordinary[OURS].resident_kb),
        ),
        ("slurmstepd, 1 Runtime session, resident kB", with_quartiles(of_qpu_job.resident_kb)),
        ("slurmstepd, job without QPU, its own kB", with_quartiles(jobs.ordinary[OURS].own_kb)),
        ("slurmstepd, 1 Runtime session, its own kB", with_quartiles(of_qpu_job.own_kb)),
        ("worker that acquires 1 Runtime session, peak MB", with_quartiles(peak_mb)),
        ("worker server while it waits, MB", with_quartiles(server_mb)),
    ]
    return "### Memory\n\n" + table(("", ""), rows)


def _load(results: Results) -> str:
    rows = [(text, *_load_columns(figures)) for text, figures in results.load.items()]
    head = (
        *(f"{JOBS} jobs", "jobs a second", "most at once", "to script, median s", "99th of 100, s"),
        *("token requests", "failures"),
    )
    text = f"One array on one node, {DELAY_MS} ms a request; measured once.\n\n"
    return "## Under load\n\n" + text + table(head, rows)


def _load_columns(figures: LoadFigures) -> tuple[str, ...]:
    seconds = [each / 1000 for each in figures.to_script_ms]
    return (
        number(JOBS / figures.seconds),
        number(figures.most_at_once),
        number(spread(seconds).median),
        number(percentile(seconds, 99)),
        number(figures.token_requests),
        number(figures.failures),
    )
