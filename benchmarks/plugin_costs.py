# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plugin costs the jobs that ask it for nothing: loading, instructions, srun, sbatch."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.testbed import EMPTY, OPTION, OURS, QRUN, VARIANTS, Testbed
from loopback.cluster import SlurmCluster
from loopback.waiting import wait_until

Samples = dict[str, list[float]]
"""The samples of each variant."""

# As sites set it; at debug level a plugin that logs would pay for each line.
SLURMD_DEBUG = "info"
NODES = dict(zip(VARIANTS, ("n1", "n2", "n3"), strict=True))
DLOPENS_PER_RUN = 10
SRUNS_PER_RUN = 3
SBATCHES_PER_RUN = 10
CALLGRIND_RUNS = 3
CALLGRIND_SECONDS = 120.0

# All that libslurm exports and slurmstepd calls for its SPANK plugins: reading plugstack.conf,
# dlopen, and the hooks. What a task's own process does is lost with it when it starts the script.
_SPANK_CALLS = (
    *("spank_init", "spank_init_post_opt", "spank_user", "spank_task_privileged"),
    *("spank_user_task", "spank_task_post_fork", "spank_task_exit", "spank_fini"),
)
_WRAPPER = """#!/bin/sh
exec {valgrind} --tool=callgrind {toggles} --callgrind-out-file=/dev/null \\
    --log-file={logs}/%p {slurmstepd} "$@"
"""


def _of_each_variant(variants: Iterable[str] = VARIANTS) -> Samples:
    return {variant: [] for variant in variants}


def dlopen_microseconds(testbed: Testbed, runs: int) -> Samples:
    """Return how long loading takes, each time in a new process."""
    samples: Samples = {EMPTY: [], OURS: []}
    for _ in range(runs * DLOPENS_PER_RUN):
        for variant, times in samples.items():
            command = [str(testbed.dlopen_time), str(testbed.plugin(variant))]
            printed = subprocess.run(command, check=True, capture_output=True).stdout
            times.append(int(printed) / 1000)
    return samples


def instructions(testbed: Testbed) -> Samples:
    """Return the instructions that slurmstepd executes for its plugins in a batch step."""
    folder = testbed.new_folder()
    logs = folder / "callgrind"
    logs.mkdir()
    wrapper = folder / "wrapper"
    wrapper.write_text(
        _WRAPPER.format(
            valgrind=shutil.which("valgrind"),
            toggles=" ".join(f"--toggle-collect={name}" for name in _SPANK_CALLS),
            logs=logs,
            # The wrapper is mounted over the original.
            slurmstepd=shutil.copy(str(shutil.which("slurmstepd")), folder),
        )
    )
    wrapper.chmod(0o755)
    # The path of slurmstepd is compiled into slurmd.
    mounts = {wrapper: Path(str(shutil.which("slurmstepd")))}
    samples = _of_each_variant([*VARIANTS, OPTION, QRUN])
    with (
        _plain_environment(),
        SlurmCluster(folder / "cluster", nodes=1, debug=SLURMD_DEBUG, mounts=mounts) as cluster,
    ):
        for _ in range(CALLGRIND_RUNS):
            for variant, counts in samples.items():
                cluster.write_plugstack(*_plugstack(testbed, variant, folder))
                cluster.submit("true").wait(CALLGRIND_SECONDS)
                [count] = wait_until(lambda: _collected(logs), CALLGRIND_SECONDS, "callgrind's sum")
                counts.append(count)
                cluster.wait_for_empty_queue(CALLGRIND_SECONDS)
                for log in logs.iterdir():
                    log.unlink()
    return samples


def _plugstack(testbed: Testbed, variant: str, state_directory: Path) -> list[str]:
    """Return the lines of plugstack.conf; nobody reads a configuration here."""
    return testbed.plugstack(variant, "/nonexistent", f"--state-dir={state_directory}")


@contextmanager
def _plain_environment() -> Iterator[None]:
    """Give jobs the same few variables on every machine: for each option Slurm looks at all."""
    variables = dict(os.environ)
    os.environ.clear()
    os.environ.update({name: variables[name] for name in ("HOME", "PATH") if name in variables})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(variables)


def _collected(logs: Path) -> list[float]:
    """Return the sums in callgrind's logs; a process that became another program has none."""
    lines = [line for log in logs.iterdir() for line in log.read_text().splitlines()]
    return [float(line.split()[-1]) for line in lines if "Collected :" in line]


def srun_milliseconds(testbed: Testbed, runs: int) -> Samples:
    """Return how long `srun true` takes."""
    with _cluster_of_variants(testbed) as cluster:

        def srun(node: str) -> float:
            started = time.perf_counter()
            cluster.run("srun", f"--nodelist={node}", "true")
            milliseconds = (time.perf_counter() - started) * 1000
            # The job's epilog would run beside the next srun.
            cluster.wait_for_empty_queue()
            return milliseconds

        return _interleaved(testbed, cluster, runs * SRUNS_PER_RUN, srun)


def sbatches_per_second(testbed: Testbed, runs: int) -> Samples:
    """Return how many batch jobs are submitted in a second, one after the other; none starts."""
    with _cluster_of_variants(testbed) as cluster:
        script = cluster.folder / "script"
        script.write_text("#!/bin/sh\n")

        def sbatch(node: str) -> float:
            started = time.perf_counter()
            for _ in range(SBATCHES_PER_RUN):
                cluster.run("sbatch", "--hold", f"--nodelist={node}", str(script))
            rate = SBATCHES_PER_RUN / (time.perf_counter() - started)
            cluster.cancel_all()
            return rate

        return _interleaved(testbed, cluster, runs, sbatch)


def _cluster_of_variants(testbed: Testbed) -> SlurmCluster:
    return SlurmCluster(testbed.new_folder(), nodes=len(NODES), debug=SLURMD_DEBUG)


def _interleaved(
    testbed: Testbed, cluster: SlurmCluster, runs: int, measure: Callable[[str], float]
) -> Samples:
    """Return what `measure` returns for each variant's node, in turn."""

    def switch_to(variant: str) -> str:
        cluster.write_plugstack(*_plugstack(testbed, variant, cluster.folder))
        return NODES[variant]

    samples = _of_each_variant()
    for variant in samples:
        # Only at its start slurmd looks whether a plugin has an epilog.
        cluster.restart_slurmd(switch_to(variant))
    cluster.assert_nodes_healthy()
    for variant in samples:
        measure(switch_to(variant))  # Caches are filled now.
    for _ in range(runs):
        for variant, values in samples.items():
            values.append(measure(switch_to(variant)))
    return samples
