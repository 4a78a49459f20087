# SPDX-License-Identifier: GPL-3.0-or-later
"""Another release installed while jobs run: none of them notices, and all they hold is released."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from loopback.cluster import SlurmCluster
from loopback.installation import REPOSITORY, Installation
from loopback.site import Site
from spank_qrmi import __version__
from spank_qrmi.protocol import VERSION
from tests.slurm.product import UNTIL_FINISHED, Product, finish, plugin_on, wait_for_script


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


@dataclass(frozen=True)
class Release:
    """A release that may not exist; its plugins and worker speak one version of messages."""

    version: str
    message_version: int = VERSION

    def build(self, folder: Path) -> Path:
        """Write this release's wheel, made of the built one, into a folder; return its path."""
        [built] = (REPOSITORY / "build" / "wheel").glob("*.whl")
        tree = folder / self.version
        shutil.unpack_archive(built, tree, "zip")
        if self.message_version != VERSION:
            self._build_plugins(folder / "source", tree)
        of_messages = "\nVERSION = {}\n"
        new = of_messages.format(self.message_version)
        replace_in(tree / "spank_qrmi" / "protocol.py", of_messages.format(VERSION), new)
        replace_in(tree / "spank_qrmi" / "__init__.py", __version__, self.version)
        information = tree / f"spank_qrmi-{self.version}.dist-info"
        (tree / f"spank_qrmi-{__version__}.dist-info").rename(information)
        new = f"\nVersion: {self.version}\n"
        replace_in(information / "METADATA", f"\nVersion: {__version__}\n", new)
        names = [path.relative_to(tree) for path in tree.rglob("*") if path.is_file()]
        (information / "RECORD").write_text("".join(f"{name},,\n" for name in names))
        archive = Path(shutil.make_archive(str(tree), "zip", tree))
        return archive.rename(folder / built.name.replace(__version__, self.version, 1))

    def _build_plugins(self, source: Path, tree: Path) -> None:
        """Compile the plugins for another message format."""
        for name in ("include", "spank_qrmi/plugin"):
            shutil.copytree(REPOSITORY / name, source / name)
        shutil.copy(REPOSITORY / "setup.py", source)
        definition = source / "spank_qrmi" / "plugin" / "message.pxd"
        old, new = (f'b"QRMI\\x{number:02}"' for number in (VERSION, self.message_version))
        replace_in(definition, old, new)
        command = [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", str(tree)]
        subprocess.run(command, cwd=source, check=True, capture_output=True)


BUILT = Release(__version__)
NEWER = Release("98.0")
NEWER_FORMAT = Release("99.0", VERSION + 1)
QPUS = "--qpu=ibm_sherbrooke,FRESNEL"


class Node(Product):
    """The product with this module's installation, in which releases replace each other."""

    wheels: ClassVar[dict[Release, Path]] = {}

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


@pytest.fixture(scope="module")
def installation(
    cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Where the tests install one release after the other."""
    folder = tmp_path_factory.mktemp("wheels")
    Node.wheels |= {each: each.build(folder) for each in (BUILT, NEWER, NEWER_FORMAT)}
    installation = Installation(cluster.folder / "releases")
    yield installation
    installation.make("uninstall")
    assert not installation.folder.exists()


@pytest.fixture
def node(cluster: SlurmCluster, installation: Installation, site: Site) -> Iterator[Node]:
    with plugin_on(Node, cluster, installation, site) as node:
        yield node


def test_worker_that_runs_needs_nothing_of_its_environment(node: Node):
    node.have(BUILT)
    node.site.order_fault("delay", "/sessions", delay_seconds=1, times=1)
    job = node.submit(f"echo here; {UNTIL_FINISHED}", QPUS)
    node.wait_for_request("/sessions")
    environment = node.installation.environment
    # A package manager removes it as soon as the newer one is there.
    away = environment.rename(node.folder / "away")
    wait_for_script(job)
    away.rename(environment)
    finish(job)

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


@pytest.mark.parametrize(
    ("before", "after"),
    [(NEWER_FORMAT, BUILT), (BUILT, NEWER_FORMAT)],
    ids=["rollback", "upgrade to another format"],
)
def test_running_job_is_not_disturbed(node: Node, before: Release, after: Release):
    node.have(before)
    earlier = node.installation.environment
    job = node.start_job(QPUS, then=UNTIL_FINISHED)
    assert node.site.open_sessions() != []

    node.install(after)
    # The release is the newly installed worker's alone.
    shutil.rmtree(earlier)
    assert node.site.open_sessions() != []
    finish(job)

    result = job.wait()
    assert (result.state, result.stderr) == ("COMPLETED", "")
    node.wait_until_released()
    assert len(node.site.sessions()) == 1
    assert node.run_job("true", QPUS).state == "COMPLETED"
