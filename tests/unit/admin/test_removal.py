# SPDX-License-Identifier: GPL-3.0-or-later
"""A removal says what must be out of the way, and takes nothing away before it is."""

import os
import sys
from pathlib import Path

import pytest

from spank_qrmi.admin import removal
from spank_qrmi.configuration.slurm_files import PluginLine
from tests.unit.admin.conftest import HeldNode, Run
from tests.unit.admin.test_installation import Machine

PLUGIN = "/usr/lib64/slurm/spank_qrmi.so"
LINE = f"optional {PLUGIN} /etc/slurm/qrmi_config.json\n"


@pytest.fixture
def machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Machine:
    """A machine with the plugins installed, and with no Slurm to ask."""
    monkeypatch.delenv("SLURM_CONF", raising=False)
    machine = Machine(tmp_path, monkeypatch, capsys)
    assert machine.install() == 0
    return machine


def write(machine: Machine, name: str, text: str) -> Path:
    path = machine.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_line_in_plugstack_is_named_and_the_plugin_stays(machine: Machine) -> None:
    path = write(machine, "etc/slurm/plugstack.conf", f"# ours\n{LINE}")
    plugin = machine.root / PLUGIN[1:]
    machine.told()
    for options in ([], ["--check"]):
        assert machine.uninstall(*options) == 1
        [line] = machine.told()[1].splitlines()
        assert line.startswith(f"spank-qrmi: {path}:2: loads {PLUGIN}: take that line out")
    assert plugin.exists()

    path.write_text(f"#{LINE}")
    assert machine.uninstall("--check") == 0
    assert plugin.exists()
    assert machine.uninstall() == 0
    assert not plugin.exists()


def test_line_is_found_wherever_slurm_reads_it(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "usr/local/etc/plugstack.conf": LINE,
        "run/slurm/conf/plugstack.conf": LINE,
        "etc/slurm/slurm.conf": "PlugStackConfig=/etc/own.conf\n",
        "etc/own.conf": "include more/*.conf\ninclude /etc/one\n",
        "etc/more/a.conf": LINE,
        "etc/more/b.conf.example": LINE,
        "etc/one": "  required spank_ibm_qrun.so\n",
    }
    for name, text in files.items():
        write(machine, name, text)
    found = [each.partition(":")[0] for each in removal.obstacles(machine.root)]
    usual = (f"{folder}/plugstack.conf" for folder in ("usr/local/etc", "run/slurm/conf"))
    places = ("etc/more/a.conf", "etc/one", *usual)
    assert found == [f"{machine.root}/{place}" for place in places]
    # Slurm's own variable names another place.
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    (tmp_path / "plugstack.conf").write_text(LINE)
    found = [each.partition(": ")[0] for each in removal.obstacles(machine.root)]
    assert found == [f"{tmp_path}/plugstack.conf:1"]


def test_plugin_of_another_installation_is_not_in_the_way_and_one_behind_links_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is one that is gone already, nor another plugin."""
    other = machine.root / "opt/others"
    other.mkdir(parents=True)
    for name in ("spank_qrmi.so", "spank_pyxis.so"):
        (other / name).write_text("code")
    text = "optional /opt/{}\n" * 3
    names = ("others/spank_qrmi.so", "gone/spank_qrmi.so", "others/spank_pyxis.so")
    write(machine, "etc/slurm/plugstack.conf", text.format(*names))
    assert removal.obstacles(machine.root) == []
    (other / "spank_qrmi.python").symlink_to("/opt/another/bin/python")
    assert removal.obstacles(machine.root) == []

    (machine.root / "opt/current").symlink_to("spank_qrmi")
    monkeypatch.setattr(sys, "executable", str(machine.root / "opt/current/bin/python"))
    (other / "spank_qrmi.so").unlink()
    (other / "spank_qrmi.so").symlink_to(machine.root / PLUGIN[1:])
    assert len(removal.obstacles(machine.root)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="the journal is root's")
def test_what_is_held_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    usual, named = tmp_path / "usual", tmp_path / "named"
    monkeypatch.setattr(removal, "DEFAULT_STATE_DIRECTORY", str(usual))
    arguments = (f"--state-dir={named}", f"--state-dir={usual}")
    line = PluginLine("plugstack.conf:1", False, "spank_qrmi.so", arguments)
    monkeypatch.setattr(removal, "read_plugstacks", lambda _: [line])
    node = HeldNode(usual, run)
    node.hold("ibm_torino", job_id=7)
    node.hold("ibm_torino", job_id=6, is_told=True)
    node.hold("ibm_torino", job_id=5, token=None, record="{}", is_over=True)
    broken = node.spoil()
    HeldNode(named, run).hold("ibm_torino", job_id=8)

    _, *found = removal.obstacles(Path("/"))

    begins = ("job 7 holds ibm_torino: ", broken, "job 8 holds ibm_torino: ")
    assert [text[: len(begin)] for text, begin in zip(found, begins, strict=True)] == [*begins]
    assert found[0].endswith("spank-qrmi release --job 7")
    # Another root has no jobs, and who is not root no journal.
    assert len(removal.obstacles(tmp_path)) == 1
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert len(removal.obstacles(Path("/"))) == 1
