# SPDX-License-Identifier: GPL-3.0-or-later
"""Another release installed while jobs run: none of them notices, and all they hold is released."""

import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from loopback.cluster import SlurmCluster
from loopback.installation import Installation
from loopback.job import Job
from loopback.site import Site
from loopback.waiting import wait_until
from spank_qrmi import __version__
from spank_qrmi.protocol import VERSION
from tests.slurm.other_release import Release
from tests.slurm.product import Product, readable_lines

BUILT = Release(__version__)
NEWER = Release("98.0")
NEWER_FORMAT = Release("99.0", VERSION + 1)
QPUS = "--qpu=ibm_sherbrooke,FRESNEL"
START_SECONDS = 60.0


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[Release, Path]:
    """The releases that the tests install."""
    folder = tmp_path_factory.mktemp("wheels")
    return {release: release.build(folder) for release in (BUILT, NEWER, NEWER_FORMAT)}


@dataclass(frozen=True)
class Node(Product):
    """The product with this module's installation, in which releases replace each other."""

    wheels: Mapping[Release, Path]

    def have(self, release: Release) -> None:
        """Install a release if another one, or none, was installed last."""
        if not self._has(release):
            self.install(release)

    def _has(self, release: Release) -> bool:
        is_installed = self.installation.interpreter_link.exists()
        return is_installed and self.installation.environment.name.startswith(f"{release.version}-")

    def install(self, release: Release) -> None:
        """Install a release over what is there."""
        self.installation.make("install", WHEEL=str(self.wheels[release]))
        assert self._has(release)

    def submit_job(self) -> Job:
        """Submit a job that runs until `end_job`."""
        return self.submit(
            f"touch {self.folder}/started; until [ -e {self.folder}/end ]; do sleep 0.1; done", QPUS
        )

    def wait_for_start(self) -> None:
        """Wait until the job of `submit_job` has its QPUs and runs."""
        wait_until((self.folder / "started").exists, START_SECONDS, "start of the job")

    def end_job(self) -> None:
        """Let the job of `submit_job` end."""
        (self.folder / "end").touch()


@pytest.fixture(scope="module")
def installation(cluster: SlurmCluster) -> Iterator[Installation]:
    """Where the tests install one release after the other."""
    installation = Installation(cluster.folder / "releases")
    yield installation
    installation.make("uninstall")
    assert not installation.folder.exists()


@pytest.fixture
def node(
    cluster: SlurmCluster,
    installation: Installation,
    site: Site,
    wheels: Mapping[Release, Path],
) -> Iterator[Node]:
    folder = Path(tempfile.mkdtemp(prefix="test-", dir=cluster.folder))
    folder.chmod(0o755)
    node = Node(cluster, installation, site, folder, wheels)
    node.write_plugstack()
    yield node
    cluster.wait_for_empty_queue()
    node.wait_until_released()


def test_worker_that_runs_needs_nothing_of_its_environment(node: Node):
    node.have(BUILT)
    node.site.order_fault("delay", "/sessions", delay_seconds=1, times=1)
    job = node.submit_job()
    node.wait_for_request("/sessions")
    environment = node.installation.environment
    # A package manager removes it as soon as the newer one is there.
    away = environment.rename(node.folder / "away")
    node.wait_for_start()
    away.rename(environment)
    node.end_job()

    result = job.wait()
    assert (result.state, result.stderr) == ("COMPLETED", "")


def test_jobs_that_start_and_end_meanwhile_are_not_disturbed(node: Node):
    node.have(BUILT)
    is_over = threading.Event()

    def install() -> None:
        try:
            for release in (NEWER, BUILT):
                node.install(release)
        finally:
            is_over.set()

    installing = threading.Thread(target=install)
    installing.start()
    jobs = []
    try:
        while not is_over.is_set():
            jobs.append(node.submit("true", QPUS))
            jobs[-1].wait()
    finally:
        installing.join()

    results = [job.wait() for job in jobs]
    assert {(result.state, result.stderr) for result in results} == {("COMPLETED", "")}
    assert len(node.site.sessions()) == len(jobs)
    names = {path.name.partition("-")[0] for path in node.installation.environments.iterdir()}
    assert names >= {BUILT.version, NEWER.version, "current", "created"}


def test_plugin_whose_worker_does_not_fit_says_so(node: Node):
    node.have(BUILT)
    worker = node.installation.environment / "bin" / "python"
    node.install(NEWER_FORMAT)
    plugin = node.installation.copy_plugin(node.folder / "mixed", worker)
    node.write_plugstack(plugin=plugin)

    result = node.run_job("echo started", QPUS)

    assert (result.state, result.stdout) == ("FAILED", "")
    assert readable_lines(result.stderr) == [
        "--qpu: the plugin and the QPU worker on this node are of different releases (message "
        f"format {VERSION + 1} and {VERSION}): submit the job again; if this stays, the "
        "administrator must install the plugin again"
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [(NEWER_FORMAT, BUILT), (BUILT, NEWER_FORMAT)],
    ids=["rollback", "upgrade to another format"],
)
def test_running_job_is_not_disturbed(node: Node, before: Release, after: Release):
    node.have(before)
    earlier = node.installation.environment
    job = node.submit_job()
    node.wait_for_start()
    assert node.site.open_sessions() != []

    node.install(after)
    # The release is the newly installed worker's alone.
    shutil.rmtree(earlier)
    assert node.site.open_sessions() != []
    node.end_job()

    result = job.wait()
    assert (result.state, result.stderr) == ("COMPLETED", "")
    node.wait_until_released()
    assert len(node.site.sessions()) == 1
    assert node.run_job("true", QPUS).state == "COMPLETED"
