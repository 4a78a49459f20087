# SPDX-License-Identifier: GPL-3.0-or-later
"""The Slurm ring's cluster, installation and site: made once, found clean by every test."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from loopback import accounting
from loopback.cluster import SlurmCluster
from loopback.errors import ClusterError
from loopback.installation import Installation, snapshot
from loopback.leaks import LeakSearch
from loopback.site import SECRETS, Site
from loopback.worker_server import WorkerServer, worker_server
from tests.slurm.both_ways import READY, SPAWNED
from tests.slurm.product import Product, plugin_on
from tests.slurm.qrun_product import QrunProduct
from tests.slurm.watched import Watched

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "setpriv")


def _need(programs: Iterable[str]) -> None:
    """Skip a test if no cluster with these programs can run here; fail it where one must."""
    missing = [program for program in programs if shutil.which(program) is None]
    if os.geteuid() != 0:
        missing.append("the rights of root")
    if missing:
        must_run = os.environ.get("CI") or os.environ.get("REQUIRE_SLURM")
        give_up = pytest.fail if must_run else pytest.skip
        give_up(f"a real Slurm is needed, but these are not there: {', '.join(missing)}")


@pytest.fixture(scope="session")
def slurm_installed() -> None:
    _need(PROGRAMS)


@pytest.fixture(scope="session")
def accounting_installed(slurm_installed: None) -> None:
    _need(accounting.PROGRAMS)


@pytest.fixture
def cluster_folder(slurm_installed: None) -> Iterator[Path]:
    """A folder for a second cluster of a test's own."""
    yield from _folder_without_leaks()


@pytest.fixture(scope="module")
def cluster_folder_of_module(slurm_installed: None) -> Iterator[Path]:
    """A folder for a second cluster that a module's tests share."""
    yield from _folder_without_leaks()


@pytest.fixture(scope="module")
def cluster_of_module(
    request: pytest.FixtureRequest, cluster_folder_of_module: Path
) -> Iterator[SlurmCluster]:
    """The cluster of a module that says in `CLUSTER` what is special about it."""
    with SlurmCluster(cluster_folder_of_module, **request.module.CLUSTER) as cluster:
        yield cluster


def _cluster_for(request: pytest.FixtureRequest) -> SlurmCluster:
    """Return a module's own cluster if it has one, else that of the session."""
    has_own = any(hasattr(request.module, each) for each in ("CLUSTER", "cluster_of_module"))
    found: SlurmCluster = request.getfixturevalue("cluster_of_module" if has_own else "cluster")
    return found


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, slurm_installed: None) -> Iterator[SlurmCluster]:
    yield from cluster_of_session(request)


def cluster_of_session(
    request: pytest.FixtureRequest, mounts_in: Callable[[Path], Mapping[Path, Path]] | None = None
) -> Iterator[SlurmCluster]:
    """Run a cluster; `mounts_in` makes what its jobs see in another place, in its folder."""
    folder = _make_folder()
    try:
        with SlurmCluster(folder, mounts=mounts_in(folder) if mounts_in else {}) as cluster:
            yield cluster
    finally:
        if not (request.session.testsfailed and os.environ.get("KEEP_CLUSTER")):
            shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _leaks(cluster: SlurmCluster) -> Iterator[LeakSearch]:
    """The search in all that the cluster's tests write, and in what Slurm tells at last."""
    leaks = LeakSearch(cluster.folder, SECRETS)
    yield leaks
    shown = cluster.run("scontrol", "--details", "show", "jobs").stdout
    (cluster.folder / "jobs.shown").write_text(shown)
    leaks.check()


@pytest.fixture(autouse=True)
def _leave_no_secret(_leaks: LeakSearch, _leave_cluster_clean: None) -> Iterator[None]:
    """Fail a test that leaves a secret where none may be."""
    yield
    _leaks.check()


@pytest.fixture(autouse=True)
def _leave_cluster_clean(cluster: SlurmCluster) -> Iterator[None]:
    """Fail a test that leaves jobs or unhealthy nodes behind, and repair them for the next one."""
    yield
    cluster.write_plugstack()
    try:
        cluster.wait_for_empty_queue()
        cluster.assert_nodes_healthy()
    except ClusterError:
        cluster.repair()
        raise


@pytest.fixture(scope="session")
def installation(cluster: SlurmCluster) -> Iterator[Installation]:
    """The product, installed beside files of others that must survive it."""
    installation = Installation(cluster.folder / "installation")
    for folder in ("lib64/slurm", "etc"):
        (installation.folder / folder).mkdir(parents=True)
        (installation.folder / folder / "of_somebody_else").write_text("kept")
    before = snapshot(installation.folder)
    installation.make("install")
    yield installation
    installation.make("uninstall")
    assert snapshot(installation.folder) == before


@pytest.fixture(scope="session")
def _site_process(cluster: SlurmCluster) -> Iterator[Site]:
    folder = cluster.folder / "site"
    folder.mkdir()
    site = Site(folder, munge_socket=cluster.munge_socket)
    yield site
    site.stop()


@pytest.fixture
def site(_site_process: Site) -> Site:
    """The simulated site as at its start."""
    _site_process.reset()
    return _site_process


@pytest.fixture
def product(
    request: pytest.FixtureRequest, installation: Installation, site: Site
) -> Iterator[Product]:
    """The product with the seed's plugstack line; fails a test that leaves anything acquired.

    Its workers are spawned, or ready for a test that asks for that (`both_ways`).
    """
    cluster = _cluster_for(request)
    with plugin_on(Product, cluster, installation, site, _server_of(request)) as product:
        yield product


@pytest.fixture
def watched(
    request: pytest.FixtureRequest, installation: Installation, site: Site
) -> Iterator[Watched]:
    """The product where QPUs have licences; what the monitor withholds is released in the end."""
    with plugin_on(Watched, _cluster_for(request), installation, site) as watched:
        try:
            yield watched
            watched.cluster.wait_for_empty_queue()
        finally:
            watched.cluster.cancel_all()
            watched.monitor.run("--release-all")


def _server_of(request: pytest.FixtureRequest) -> WorkerServer | None:
    """Return what has workers ready for the way that a fixture is asked for."""
    server: WorkerServer | None = None
    if getattr(request, "param", SPAWNED) == READY:
        server = request.getfixturevalue("ready_workers")
    return server


@pytest.fixture(scope="module")
def ready_workers(
    request: pytest.FixtureRequest, installation: Installation, _leaks: LeakSearch
) -> Iterator[WorkerServer]:
    """What has workers ready for all tests of a module that are to have such.

    Fails in the end if it has refused a job, has said anything, or holds a secret of those that it
    has served; so must neither the worker that it would hand out next.
    """
    cluster = _cluster_for(request)
    folder = Path(tempfile.mkdtemp(prefix="server-", dir=cluster.folder))
    with worker_server(installation, folder) as server:
        yield server
        _leaks.check_memory(server.wait_until_idle())
    assert server.console.read_text() == ""
    # Where the processors are busy, it may not be heard in time: jobs go without then.
    logged = "\n".join(map(cluster.slurmd_log, cluster.nodes))
    refusals = re.findall(rf"--worker-server={server.path}: (?!it does not answer).*", logged)
    assert refusals == []
    assert f"worker of worker server {server.path}" in logged


@pytest.fixture(scope="module")
def restart_slurmds(cluster: SlurmCluster) -> Iterator[Callable[[], None]]:
    """What lets slurmds know plugstack.conf; they are restarted once more in the end."""

    def restart() -> None:
        for node in cluster.nodes:
            cluster.restart_slurmd(node)
        cluster.assert_nodes_healthy()

    yield restart
    cluster.write_plugstack()
    restart()


@pytest.fixture(scope="module")
def epilog_is_known(
    cluster: SlurmCluster, installation: Installation, restart_slurmds: Callable[[], None]
) -> None:
    """slurmd looks at its start whether any plugin has an epilog."""
    cluster.write_plugstack(f"optional {installation.plugin}")
    restart_slurmds()


@pytest.fixture
def qrun_product(
    request: pytest.FixtureRequest, cluster: SlurmCluster, installation: Installation, site: Site
) -> Iterator[QrunProduct]:
    """The plugin spank_ibm_qrun with eight arguments; fails a test that leaves a quantum job.

    Its workers are spawned, or ready for a test that asks for that (`qrun_both_ways`).
    """
    with plugin_on(QrunProduct, cluster, installation, site, _server_of(request)) as product:
        yield product


def _folder_without_leaks() -> Iterator[Path]:
    folder = _make_folder()
    try:
        yield folder
        LeakSearch(folder, SECRETS).check()
    finally:
        shutil.rmtree(folder)


def _make_folder() -> Path:
    # pytest's own folders keep other users out, and their paths are long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="spank-qrmi-", dir="/tmp"))
    folder.chmod(0o755)
    return folder
