# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures that several test modules share."""

import logging
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.configuration import set_hypothesis_home_dir

from loopback.tls_entrance import TlsEntrance, tls_entrance_to
from spank_qrmi.state import usage_log
from spank_qrmi.trust.slurm_commands import SlurmCommands
from spank_qrmi.worker import process as worker
from spank_qrmi_simulator.object_store import LocalObjectStore, ObjectStore
from spank_qrmi_simulator.site import Site
from tests.simulated_site import base_url, site
from tests.unit.conversation import ServingWorker
from tests.unit.fake_scontrol import FakeScontrol
from tests.unit.fake_services import assert_shows_no_secret
from tests.unit.fake_vendor import FakeVendor
from tests.unit.local_network import LocalNetwork
from tests.unit.plugin_host import PluginHost
from tests.unit.qrun_site import QrunSite

# pytest finds fixtures by their names in this module.
__all__ = ["base_url", "site"]

UNIT_TESTS = Path(__file__).parent
BUILD = UNIT_TESTS.parents[1] / "build"

# The same inputs in every run, and a failure is told at once; --hypothesis-profile=long draws many
# others, and looks for the smallest that fails.
set_hypothesis_home_dir(BUILD / "hypothesis")
settings.register_profile(
    "quick",
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.register_profile(
    "long",
    settings.get_profile("quick"),
    derandomize=False,
    max_examples=10_000,
    phases=[*Phase],
)
settings.load_profile("quick")


@pytest.fixture(scope="session", autouse=True)
def _disk_is_not_waited_for() -> Iterator[None]:
    """No test loses power; a descriptor that is none still fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(autouse=True)
def usage_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where what is used is recorded, unless an argument says otherwise."""
    path = tmp_path / "log" / "usage.jsonl"
    # Its folder is made, those above are not.
    monkeypatch.setattr(usage_log, "DEFAULT_PATH", str(path))
    return path


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can use: pytest closes its own whenever another run starts."""
    with tempfile.TemporaryDirectory(prefix="spank-qrmi-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> FakeVendor:
    vendor = FakeVendor()
    vendor.serve(monkeypatch)
    return vendor


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> ServingWorker:
    """The worker in this process: asks the network itself, and may be anybody's code."""
    network = LocalNetwork()
    serving = ServingWorker(lambda channel: worker.serve(channel, network))
    monkeypatch.setattr(
        worker, "_cancel_when_abandoned", lambda _, deadline: serving.deadlines.append(deadline)
    )
    monkeypatch.setattr(worker, "refuse_untrusted_code", lambda *_: None)
    return serving


@pytest.fixture(scope="session")
def fake_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake host, compiled with the headers of the Slurm that the plugin was built for."""
    assert (BUILD / "spank_qrmi.so").exists(), "the plugins are not built: make build"
    program = tmp_path_factory.mktemp("fake_host") / "fake_host"
    folders = filter(None, os.environ.get("SLURM_INCLUDE_DIRS", "").split(":"))
    command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-rdynamic"]
    command += [f"-I{folder}" for folder in folders]
    command += [UNIT_TESTS / "fake_host.c", UNIT_TESTS / "fake_slurm.c", "-o", program, "-ldl"]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (compiled.returncode, compiled.stderr) == (0, "")
    return program


@pytest.fixture
def host(tmp_path: Path, fake_host: Path) -> PluginHost:
    return PluginHost(tmp_path, fake_host, BUILD / "spank_qrmi.so")


@pytest.fixture
def qrun_host(tmp_path: Path, fake_host: Path) -> PluginHost:
    return PluginHost(tmp_path, fake_host, BUILD / "spank_ibm_qrun.so")


@pytest.fixture
def no_secret_in_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test whose log records show a secret of the fake services."""
    with caplog.at_level(logging.DEBUG):
        yield
    for record in caplog.get_records("call"):
        assert_shows_no_secret(record.getMessage())


@pytest.fixture(scope="module")
def entrance(base_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsEntrance]:
    with tls_entrance_to(base_url, tmp_path_factory.mktemp("tls")) as entrance:
        yield entrance


@pytest.fixture
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the proxies and certificates that whoever runs the tests has set."""
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for name in (*proxies, *map(str.upper, proxies), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def object_store() -> Iterator[ObjectStore]:
    with LocalObjectStore("127.0.0.1") as store:
        yield store


@pytest.fixture
def qrun_site(site: Site, base_url: str, object_store: ObjectStore) -> QrunSite:
    """The site in its first state, as `qrun` is told of it."""
    qrun_site = QrunSite(site, base_url, object_store)
    qrun_site.reset()
    return qrun_site


@pytest.fixture
def scontrol(tmp_path: Path) -> FakeScontrol:
    return FakeScontrol(tmp_path / "slurm")


@pytest.fixture
def commands(scontrol: FakeScontrol) -> SlurmCommands:
    return SlurmCommands(scontrol.folder)
