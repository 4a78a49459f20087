# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m benchmarks`: measures, and writes REPORT.md and its picture."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.load import measure_load
from benchmarks.machine import description
from benchmarks.monitor_rounds import measure_monitor
from benchmarks.plot import draw
from benchmarks.plugin_costs import (
    dlopen_microseconds,
    instructions,
    sbatches_per_second,
    srun_milliseconds,
)
from benchmarks.qpu_jobs import measure_jobs
from benchmarks.report import report
from benchmarks.results import Results
from benchmarks.testbed import Testbed, testbed

REPORT_NAME, PLOT_NAME = "REPORT.md", "report.svg"


def _dlopen(testbed: Testbed, results: Results) -> None:
    results.dlopen_us = dlopen_microseconds(testbed, results.runs)


def _instructions(testbed: Testbed, results: Results) -> None:
    results.instructions = instructions(testbed)


def _srun(testbed: Testbed, results: Results) -> None:
    results.srun_ms = srun_milliseconds(testbed, results.runs)


def _sbatch(testbed: Testbed, results: Results) -> None:
    results.sbatch_per_second = sbatches_per_second(testbed, results.runs)


def _qpu(testbed: Testbed, results: Results) -> None:
    results.jobs = measure_jobs(testbed, results.runs)


def _load(testbed: Testbed, results: Results) -> None:
    results.load = measure_load(testbed, results.runs)


def _monitor(testbed: Testbed, results: Results) -> None:
    results.monitor = measure_monitor(testbed, results.runs)


PARTS: dict[str, Callable[[Testbed, Results], None]] = {
    "dlopen": _dlopen,
    "instructions": _instructions,
    "srun": _srun,
    "sbatch": _sbatch,
    "qpu": _qpu,
    "load": _load,
    "monitor": _monitor,
}
CROWD = "load"
"""What this part leaves in the load average is not other work's."""


def main() -> int:
    """Measure the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    wanted = options.parts.split(",")
    if unknown := [name for name in wanted if name not in PARTS]:
        parser.error(f"BENCH={','.join(unknown)}: there are {', '.join(PARTS)}")
    if options.runs < 1:
        parser.error("BENCH_RUNS must be at least 1")
    options.output.mkdir(parents=True, exist_ok=True)
    results = Results(options.runs, description())
    with testbed() as installed:
        is_after_crowd = False
        for name, measure in PARTS.items():
            if name in wanted:
                if not is_after_crowd:
                    results.loads.append(os.getloadavg()[0])
                is_after_crowd = name == CROWD
                started = time.monotonic()
                measure(installed, results)
                print(f"measured {name} in {time.monotonic() - started:.0f} s", flush=True)
    if results.jobs is not None:
        draw(results.jobs, options.output / PLOT_NAME)
    text = report(results, PLOT_NAME if results.jobs is not None else None)
    (options.output / REPORT_NAME).write_text(text)
    print(f"wrote {options.output / REPORT_NAME}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
