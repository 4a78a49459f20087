# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's picture: how long scripts wait for their QPUs, and how long releasing takes."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.goals import RELEASE_GOALS, RELEASE_MS, TO_SCRIPT_GOALS, TURN_TEXTS
from benchmarks.qpu_jobs import FIRST, Case, QpuFigures
from benchmarks.samples import spread
from benchmarks.testbed import NONE

# Text stays text, which keeps the file small; without a salt, no two files are the same.
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9}
COLOURS = {True: "#4c78a8", False: "#9ecae9"}
GOAL_COLOUR = "#d62728"

Bar = tuple[str, Sequence[float], float | None, bool]
"""Label, samples, goal, and whether it is a first job."""


def draw(jobs: QpuFigures, path: Path) -> None:
    """Write the picture as SVG."""
    goals = {(case, turn): float(limit) for case, turn, limit, _ in TO_SCRIPT_GOALS}
    to_script: list[Bar] = [("no plugin", jobs.ordinary[NONE].to_script_ms, None, True)]
    to_script += [
        (_label(case, turn), samples.to_script_ms, goals.get((case, turn)), turn == FIRST)
        for (case, turn), samples in jobs.acquiring.items()
    ]
    release: list[Bar] = [
        (case.name, jobs.acquiring[case, FIRST].release_ms, float(RELEASE_MS), True)
        for case, _ in RELEASE_GOALS
    ]
    with mpl.rc_context(STYLE):  # type: ignore[arg-type] # its keys are a Literal of hundreds
        figure = Figure(figsize=(7.5, 4.6), layout="constrained")
        axes = figure.subplots(2, 1, sharex=True, height_ratios=(len(to_script), len(release)))
        _bars(
            axes[0], "from slurmstepd's first line to the script's, ms (red: the goal)", to_script
        )
        _bars(axes[1], "release, 100 ms a request, ms", release)
        figure.savefig(path, metadata={"Date": None})


def _label(case: Case, turn: str) -> str:
    return f"{case.name}, {case.delay_ms} ms a request, {TURN_TEXTS[turn]}"


def _bars(axes: Axes, title: str, bars: Sequence[Bar]) -> None:
    for position, (_, samples, goal, is_first) in enumerate(bars):
        found = spread(samples)
        error = [[found.median - found.low_quartile], [found.high_quartile - found.median]]
        axes.barh(position, found.median, xerr=error, color=COLOURS[is_first], height=0.7)
        axes.text(found.high_quartile + 6, position, f"{found.median:.0f}", va="center")
        if goal is not None:
            axes.plot([goal, goal], [position - 0.45, position + 0.45], color=GOAL_COLOUR, lw=2)
    axes.set_yticks(range(len(bars)), [label for label, *_ in bars])
    axes.invert_yaxis()
    axes.set_title(title, fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(left=0)
