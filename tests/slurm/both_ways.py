# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers that a server has ready, and workers that slurmstepd starts: tests run with both.

The workers of a test that says nothing are spawned.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from loopback.cluster import SlurmCluster
from loopback.installation import Installation
from loopback.leaks import LeakSearch
from loopback.worker_server import WorkerServer, worker_server

READY, SPAWNED = WAYS = ("ready", "spawned")

both_ways = pytest.mark.parametrize("product", WAYS, indirect=True)
qrun_both_ways = pytest.mark.parametrize("qrun_product", WAYS, indirect=True)


def taking_turns(
    fixture: str, names: tuple[str, ...], cases: Iterable[tuple[object, ...]]
) -> pytest.MarkDecorator:
    """Parametrise by cases; every other one has workers that are ready."""
    chosen = [(way, *case) for way, case in zip(cycle(WAYS), cases, strict=False)]
    return pytest.mark.parametrize((fixture, *names), chosen, indirect=[fixture])


def server_of(request: pytest.FixtureRequest) -> WorkerServer | None:
    """Return what has workers ready for the way that a fixture is asked for."""
    server: WorkerServer | None = None
    if getattr(request, "param", SPAWNED) == READY:
        server = request.getfixturevalue("ready_workers")
    return server


@contextmanager
def workers_ready_for(
    cluster: SlurmCluster, installation: Installation, leaks: LeakSearch
) -> Iterator[WorkerServer]:
    """Have workers ready for the jobs of a cluster.

    Raises in the end if the server has refused a job, has said anything, or holds a secret of those
    that it has served; so must neither the worker that it would hand out next.
    """
    folder = Path(tempfile.mkdtemp(prefix="server-", dir=cluster.folder))
    with worker_server(installation, folder) as server:
        yield server
        leaks.check_memory(server.wait_until_idle())
    assert server.console.read_text() == ""
    # Where the processors are busy, it may not be heard in time: jobs go without then.
    logged = "\n".join(map(cluster.slurmd_log, cluster.nodes))
    refusals = re.findall(rf"--worker-server={server.path}: (?!it does not answer).*", logged)
    assert refusals == []
    assert f"worker of worker server {server.path}" in logged
