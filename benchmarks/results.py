# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run of `make bench` has measured; a part that was not asked for is empty."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.load import LoadFigures
from benchmarks.monitor_rounds import MonitorFigures
from benchmarks.qpu_jobs import QpuFigures

ByVariant = Mapping[str, Sequence[float]]


@dataclass
class Results:
    """The samples of each measurement, by variant of the plugin where it has some.

    `loads` are the machine's load averages before each part.
    """

    runs: int
    machine: Mapping[str, str]
    loads: list[float] = field(default_factory=list)
    dlopen_us: ByVariant = field(default_factory=dict)
    instructions: ByVariant = field(default_factory=dict)
    srun_ms: ByVariant = field(default_factory=dict)
    sbatch_per_second: ByVariant = field(default_factory=dict)
    jobs: QpuFigures | None = None
    load: Mapping[str, Sequence[LoadFigures]] = field(default_factory=dict)
    monitor: MonitorFigures | None = None

    @property
    def is_disturbed(self) -> bool:
        """Whether other work wanted the CPUs too: the parts before `load` keep about one busy."""
        return max(self.loads, default=0) > (os.cpu_count() or 1)
