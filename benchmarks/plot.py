# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's picture: how long scripts wait for their QPUs, and how long releasing takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.goals import GOALS, name_job, name_release, name_to_script
from benchmarks.qpu_jobs import (
    BY_HTTPS,
    CASES,
    DIRECT_ACCESS,
    FIRST,
    NEXT,
    TURNS,
    Case,
    QpuFigures,
)
from benchmarks.samples import spread
from benchmarks.testbed import BY_DEFAULT, NONE, SPAWNED

# Text stays text, which keeps the file small; without a salt, no two files are the same.
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9}
COLOURS = {
    (BY_DEFAULT, FIRST): "#4c78a8",
    (BY_DEFAULT, NEXT): "#9ecae9",
    (SPAWNED, FIRST): "#9d9d9d",
    (SPAWNED, NEXT): "#cccccc",
}
GOAL_COLOUR = "#d62728"


@dataclass(frozen=True)
class Bar:
    """One line of the picture; `goal_ms` is None where there is no goal."""

    label: str
    samples_ms: Sequence[float]
    goal_ms: float | None
    colour: str


def draw(jobs: QpuFigures, path: Path) -> None:
    """Write the picture as SVG."""
    goals = {goal.text: goal.limit for goal in GOALS}

    def bar(case: Case, turn: str, name: Callable[[Case, str], str], ms: Sequence[float]) -> Bar:
        return Bar(name_job(case, turn), ms, goals.get(name(case, turn)), COLOURS[case.way, turn])

    shown = [case for case in CASES if case.way != BY_HTTPS]
    to_script = [
        bar(case, turn, name_to_script, jobs.acquiring[case, turn].to_script_ms)
        for case in shown
        for turn in TURNS
    ]
    release = [
        bar(case, NEXT, name_release, jobs.acquiring[case, NEXT].release_ms)
        for case in shown
        if case.delay_ms and case.qpus != DIRECT_ACCESS
    ]
    no_plugin = Bar("no plugin", jobs.ordinary[NONE].to_script_ms, None, COLOURS[BY_DEFAULT, FIRST])
    with mpl.rc_context(STYLE):  # type: ignore[arg-type] # its keys are a Literal of hundreds
        figure = Figure(figsize=(7.5, 7.5), layout="constrained")
        heights = (len(to_script) + 1, len(release))
        axes = figure.subplots(2, 1, sharex=True, height_ratios=heights)
        _bars(axes[0], "time to script, ms (red: the goal)", [no_plugin, *to_script])
        _bars(axes[1], "release, ms", release)
        figure.savefig(path, metadata={"Date": None})


def _bars(axes: Axes, title: str, bars: Sequence[Bar]) -> None:
    for position, bar in enumerate(bars):
        found = spread(bar.samples_ms)
        error = [[found.median - found.low_quartile], [found.high_quartile - found.median]]
        axes.barh(position, found.median, xerr=error, color=bar.colour, height=0.7)
        axes.text(found.high_quartile + 6, position, f"{found.median:.0f}", va="center")
        if bar.goal_ms is not None:
            ends = [position - 0.45, position + 0.45]
            axes.plot([bar.goal_ms, bar.goal_ms], ends, color=GOAL_COLOUR, lw=2)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    axes.invert_yaxis()
    axes.set_title(title, fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(left=0)
    axes.margins(y=0.01)
