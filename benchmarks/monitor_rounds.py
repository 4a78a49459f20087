# SPDX-License-Identifier: GPL-3.0-or-later
"""What watching 1,000 QPUs costs, and looking for one of them when a job is submitted."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.crowded_site import more_backends
from benchmarks.plugin_costs import SBATCHES_PER_RUN, SLURMD_DEBUG
from benchmarks.testbed import OURS, Testbed
from loopback.cluster import SlurmCluster
from loopback.monitor import MonitorCommand
from loopback.site import Site
from spank_qrmi.catalog.license_names import license_name_of

QPUS = 1000
CHANGED = 3
"""QPUs that go away, or come back, between two rounds."""
SAME, OTHER = "nothing has changed", f"{CHANGED} QPUs have changed"
WITH_CATALOG, WITHOUT_CATALOG = "catalog of 1,000 QPUs", "no catalog"
_WRAPPER = """#!/bin/sh
echo "$1 $2" >>{log}
exec {scontrol} "$@"
"""


@dataclass(frozen=True)
class MonitorFigures:
    """Seconds of `spank-qrmi monitor --once`, commands that it gives to slurmctld, and its memory.

    The first two are by what has changed since the round before. `sbatch_ms` is a submission with a
    QPU, by whether there is a catalog to look at.
    """

    seconds: Mapping[str, Sequence[float]]
    commands: Mapping[str, Sequence[int]]
    peak_kb: Sequence[float]
    sbatch_ms: Mapping[str, Sequence[float]]


def measure_monitor(testbed: Testbed, runs: int) -> MonitorFigures:
    """Do rounds in which nothing changes and rounds in which something does, in turn."""
    seconds: dict[str, list[float]] = {SAME: [], OTHER: []}
    commands: dict[str, list[int]] = {SAME: [], OTHER: []}
    peak_kb: list[float] = []
    with _watched(testbed) as watched:
        watched.round()
        for run in range(runs):
            for what, of_what in seconds.items():
                if what == OTHER:
                    watched.change(is_away=run % 2 == 0)
                before = watched.given_commands()
                of_what.append(_seconds(watched.round))
                commands[what].append(watched.given_commands() - before)
            # Apart: what looks at memory takes processor time from the round.
            peak_kb.append(testbed.workers().peak_kb(watched.round))
        return MonitorFigures(seconds, commands, peak_kb, _sbatch_ms(watched, runs))


@dataclass(frozen=True)
class _Watched:
    """A cluster with a licence for each QPU of the site."""

    cluster: SlurmCluster
    site: Site
    monitor: MonitorCommand
    command_log: Path
    plugstack: Callable[..., Sequence[str]]
    catalog: Path

    def round(self) -> None:
        """Do one round; raise CommandError if it does not do all."""
        self.monitor.run(check=True)

    def change(self, *, is_away: bool) -> None:
        for name in more_backends(CHANGED):
            self.site.set_backend_status(name, "maintenance" if is_away else "active")

    def given_commands(self) -> int:
        return len(self.command_log.read_text().splitlines())


@contextmanager
def _watched(testbed: Testbed) -> Iterator[_Watched]:
    folder, slurm_bin, catalog = (testbed.new_folder() for _ in range(3))
    log = folder / "commands"
    log.touch()
    wrapper = slurm_bin / "scontrol"
    wrapper.write_text(_WRAPPER.format(log=log, scontrol=shutil.which("scontrol")))
    wrapper.chmod(0o755)
    with testbed.site(QPUS) as site:
        names = sorted({license_name_of(each["name"]) for each in site.resources()})
        settings = {"Licenses": ",".join(names)}
        with SlurmCluster(folder, nodes=1, debug=SLURMD_DEBUG, settings=settings) as cluster:

            def plugstack(*arguments: str) -> Sequence[str]:
                state = f"--state-dir={folder / 'journal'}"
                return testbed.plugstack(OURS, str(site.config_path), state, *arguments)

            cluster.write_plugstack(*plugstack())
            options = ("--once", f"--publish={catalog}", f"--slurm-bin={slurm_bin}")
            monitor = MonitorCommand(cluster, testbed.installation, folder, options)
            yield _Watched(cluster, site, monitor, log, plugstack, catalog)


def _sbatch_ms(watched: _Watched, runs: int) -> dict[str, list[float]]:
    """Return how long it takes to submit a job that is held, by what plugstack.conf names."""
    arguments = {WITHOUT_CATALOG: [], WITH_CATALOG: [f"--catalog={watched.catalog}"]}
    samples: dict[str, list[float]] = {what: [] for what in arguments}
    script = watched.cluster.folder / "script"
    script.write_text("#!/bin/sh\n")
    # The last in the catalog is the last to be found.
    words = ("sbatch", "--hold", f"--qpu={more_backends(QPUS)[-1]}", str(script))
    for _ in range(runs):
        for what, more in arguments.items():
            watched.cluster.write_plugstack(*watched.plugstack(*more))
            for _ in range(SBATCHES_PER_RUN):
                samples[what].append(_seconds(lambda: watched.cluster.run(*words)) * 1000)
            watched.cluster.cancel_all()
    return samples


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
