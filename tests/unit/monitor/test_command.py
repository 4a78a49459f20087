# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi monitor` with its options."""

import os
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest

from loopback.configuration import reserved_ports
from spank_qrmi.admin.command import main
from spank_qrmi.catalog.files import read_catalog
from spank_qrmi.errors import UntrustedPathError
from spank_qrmi.monitor import command
from spank_qrmi.monitor.memory import locked_memory
from spank_qrmi.monitor.observations import Observation, Round
from spank_qrmi.monitor.service import Monitor
from spank_qrmi.status import QpuState, QpuStatus
from tests.unit.fake_scontrol import FakeScontrol
from tests.unit.metric_samples import samples_in

ONLINE = QpuStatus(QpuState.ONLINE)
PAUSED = QpuStatus(QpuState.PAUSED, "maintenance")


class Node:
    """A node with a plugstack.conf and a slurmctld, and the command on it."""

    def __init__(
        self, folder: Path, scontrol: FakeScontrol, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.seen = Round()
        self.asked: list[str] = []
        self.plugstack = folder / "plugstack.conf"
        self.plugstack.write_text(
            f"optional spank_qrmi.so /etc/slurm/qrmi_config.json --state-dir={folder}/state\n"
        )
        self._scontrol = scontrol
        self._capsys = capsys

    def run(self, *options: str) -> tuple[int, list[str]]:
        """Run the command; return its exit status and what it printed."""
        where = (f"--plugstack={self.plugstack}", f"--slurm-bin={self._scontrol.folder}")
        status = main(["monitor", *where, *options])
        printed = self._capsys.readouterr()
        return status, [*printed.out.splitlines(), *printed.err.splitlines()]

    def see(self, **statuses: QpuStatus) -> None:
        """Let rounds see QPUs."""
        seen = (Observation(name, ("t",), each, True) for name, each in statuses.items())
        self.seen = Round(tuple(seen))


@pytest.fixture
def node(
    tmp_path: Path,
    scontrol: FakeScontrol,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Node:
    node = Node(tmp_path, scontrol, capsys)

    def ask(arguments: command.PluginArguments) -> Round:
        node.asked.append(arguments.config_path)
        return node.seen

    monkeypatch.setenv("SLURM_CONF", os.devnull)
    monkeypatch.setattr(command, "ask_in_process", ask)
    monkeypatch.setattr(command.os, "geteuid", lambda: 0)
    # The environment of the tests may be anybody's.
    monkeypatch.setattr(command, "refuse_untrusted_code", lambda: None)
    return node


def test_one_round(node: Node, scontrol: FakeScontrol) -> None:
    scontrol.add("qpu_a", 2)
    node.see(a=PAUSED)
    lines = (
        "asks with the site's credentials, those of /etc/slurm/qrmi_config.json",
        "a: paused: maintenance",
        "a: 2 of 2 licences qpu_a withheld, 0 before: paused: maintenance",
    )
    assert node.run("--once") == (0, [f"spank-qrmi: {line}" for line in lines])
    assert scontrol.reservations() == {"spank_qrmi_qpu_a": "qpu_a:2"}
    scontrol.calls()
    assert node.run("--once", "--licenses=none")[0] == 0
    assert scontrol.calls() == []


def test_every_way_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["monitor", "--help"])
    assert f"  --licenses {{{','.join(command.WAYS)}}}\n" in capsys.readouterr().out


def test_only_root_with_code_that_is_roots_alone(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse = Mock(side_effect=UntrustedPathError("open to all"))
    monkeypatch.setattr(command, "refuse_untrusted_code", refuse)
    assert node.run("--once") == (1, ["spank-qrmi: open to all"])
    monkeypatch.setattr(command.os, "geteuid", lambda: 1000)
    for options in (["--once"], ["--release-all"], ["--print-licenses"]):
        told = ["spank-qrmi: only root may watch QPUs and withhold licences: run it as root"]
        assert node.run(*options) == (1, told)
    assert node.asked == []


def test_other_configuration_goes_with_the_rest_of_the_line_or_without_one(
    node: Node, tmp_path: Path
) -> None:
    node.run("--once", "--config=/else/qrmi_config.json")
    assert (tmp_path / "state" / "monitor").is_dir()
    node.plugstack.write_text("")
    lacks = "plugstack.conf has no line of spank_qrmi.so, which says where qrmi_config.json is"
    assert node.run("--once") == (1, [f"spank-qrmi: {lacks}: name that by --config=FILE"])
    assert node.run("--print-licenses", "--config=/else/qrmi_config.json")[0] == 1
    assert node.asked == ["/else/qrmi_config.json"] * 2


def test_second_monitor_is_harmless(
    node: Node, scontrol: FakeScontrol, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("spank_qrmi.monitor.memory._PATIENCE_SECONDS", 0.0)
    scontrol.add("qpu_a", 2)
    node.see(a=PAUSED)
    with locked_memory(tmp_path / "state"):
        for option in ("--once", "--release-all"):
            status, [line] = node.run(option)
            assert (status, "another monitor works with it" in line) == (1, True)
    assert (node.asked, scontrol.calls()) == ([], [])


def test_all_is_given_back_in_a_way_that_can_be_had(
    node: Node, scontrol: FakeScontrol, tmp_path: Path
) -> None:
    # As of this older Slurm.
    status, [line] = node.run("--once", "--licenses=dbd")
    assert (status, "needs Slurm 23.02 or later" in line) == (1, True)
    assert not (tmp_path / "state").exists()
    status, [line] = node.run("--release-all", "--licenses=none")
    assert (status, "--release-all needs" in line) == (1, True)
    scontrol.add("qpu_a", 2)
    scontrol.reserve("spank_qrmi_qpu_a", "qpu_a", 2)
    assert node.run("--release-all") == (0, ["released spank_qrmi_qpu_a"])
    assert scontrol.reservations() == {}
    assert node.run("--release-all") == (0, [])


def test_catalog_and_metrics_are_written_and_of_a_round_that_failed_metrics_alone(
    node: Node, tmp_path: Path, scontrol: FakeScontrol
) -> None:
    metrics, missing = tmp_path / "monitor.prom", tmp_path / "missing"
    scontrol.add("qpu_a", 2)
    node.see(a=PAUSED)
    options = ("--once", f"--publish={tmp_path}", f"--metrics={metrics}")
    assert node.run(*options)[0] == 0
    assert [entry.status for entry in read_catalog(tmp_path).entries] == [PAUSED]
    told = metrics.read_text()
    assert 'spank_qrmi_qpu_state{qpu="a",state="paused"} 1.0' in told
    assert 'spank_qrmi_qpu_withheld_licenses{license="qpu_a",qpu="a"} 2.0' in told
    assert 'spank_qrmi_qpu_call_seconds{qpu="a"} 0.0' in told
    for option in (f"--publish={missing}", f"--metrics={missing}/a.prom"):
        status, lines = node.run("--once", option)
        assert (status, f"{missing}/" in lines[-1]) == (1, True), option

    before = (tmp_path / "qpus.json").read_bytes()
    node.seen = Round(failure="no configuration")
    status, lines = node.run(*options)
    assert (status, lines[1]) == (1, "spank-qrmi: no QPU could be asked: no configuration")
    # What everybody reads of the catalog grows old then; in metrics, all is unknown.
    assert (tmp_path / "qpus.json").read_bytes() == before
    samples = samples_in(metrics.read_text())
    assert samples["spank_qrmi_qpu_state"]["a", "unknown"] == 1
    assert "spank_qrmi_qpu_call_seconds" not in samples


def test_metrics_are_served(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the command ends."""
    with reserved_ports(1) as [port]:
        url = f"http://127.0.0.1:{port}/metrics"
        served: list[str] = []

        def ask_and_look(self: Monitor) -> int:
            self.do_round()
            served.append(httpx.get(url, trust_env=False).text)
            return 0

        monkeypatch.setattr(Monitor, "run", ask_and_look)
        node.see(a=PAUSED)
        assert node.run("--licenses=none", f"--metrics-listen=127.0.0.1:{port}")[0] == 0
        assert 'spank_qrmi_qpu_state{qpu="a",state="paused"} 1.0' in served[0]
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, trust_env=False)


def test_lines_of_slurm_conf_and_commands_of_sacctmgr_are_printed(
    node: Node, scontrol: FakeScontrol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.see(a=ONLINE, b=QpuStatus(QpuState.OFFLINE, total_slots=3))
    comment = "# slurm.conf; one line has all licences, others that there are too"
    for options in ([], *([f"--licenses={way}"] for way in command.WAYS if way != "dbd")):
        printed = node.run("--print-licenses", *options)
        assert printed == (0, [comment, "Licenses=qpu_a:1,qpu_b:3"]), options
    slurm_conf = tmp_path / "slurm.conf"
    slurm_conf.write_text("ClusterName=main\n")
    for path, cluster in ((os.devnull, "NAME"), (str(slurm_conf), "main")):
        monkeypatch.setenv("SLURM_CONF", path)
        added = "sacctmgr add resource name=qpu_{} server=spank_qrmi type=license count={} cluster="
        lines = [f"{added.format(*each)}{cluster} allowed=100" for each in (("a", 1), ("b", 3))]
        assert node.run("--print-licenses", "--licenses=dbd") == (0, lines)
    assert scontrol.calls() == []


def test_without_qpus_of_their_own_licences_are_not_printed(node: Node) -> None:
    node.see(**{"a:1": ONLINE, "a@1": ONLINE})
    both = "a:1 and a@1 would have the same licence qpu_a_1, which stays as it is"
    assert node.run("--print-licenses") == (1, [f"spank-qrmi: {both}: rename all but one"])
    for failure, text in (("", "no usable QPU"), ("no configuration", "no configuration")):
        node.seen = Round(failure=failure)
        status, [line] = node.run("--print-licenses")
        assert (status, text in line) == (1, True), failure


def test_options_that_cannot_be(node: Node) -> None:
    for option in ("--interval=0", "--grace=x", "--licenses=files", "--metrics-listen=9321"):
        with pytest.raises(SystemExit):
            pytest.fail(f"{option} was taken: {node.run(option)}")
