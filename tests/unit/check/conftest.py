# SPDX-License-Identifier: GPL-3.0-or-later
"""A node on which nothing is wrong, below one folder, and the command that looks at it."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from spank_qrmi.admin import check_command, command
from spank_qrmi.check import plugins, services, slurmd
from spank_qrmi.check.plugin_library import read_library
from tests.unit.local_network import LocalNetwork

BUILT = Path(__file__).parents[3] / "build"
SECRETS = ("api-key-do-not-show", "crn-do-not-show")
IBM = {
    "QRMI_IBM_QRS_ENDPOINT": "https://api.test/v1",
    "QRMI_IBM_QRS_IAM_ENDPOINT": "https://iam.test",
    "QRMI_IBM_QRS_IAM_APIKEY": "api-key-do-not-show",
    "QRMI_IBM_QRS_SERVICE_CRN": "crn-do-not-show",
}


class CheckedNode:
    """Files as an installation makes them; a test spoils one of them, and looks what is told."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder
        self._capsys = capsys
        self.slurm_conf = folder / "slurm.conf"
        self.plugstack = folder / "plugstack.conf"
        self.config = folder / "qrmi_config.json"
        self.state = folder / "state"
        self.usage_log = folder / "usage" / "usage.jsonl"
        self.plugin = folder / "plugins" / "spank_qrmi.so"
        self.interpreter = folder / "env" / "bin" / "python"
        self.link = self.plugin.with_name("spank_qrmi.python")
        self.plugin.parent.mkdir()
        self.interpreter.parent.mkdir(parents=True)
        self.interpreter.touch(mode=0o755)
        self.state.mkdir(mode=0o700)
        shutil.copy(BUILT / "spank_qrmi.so", self.plugin)
        self.plugin.chmod(0o755)
        self.link.symlink_to(self.interpreter)
        self.write_plugstack()
        self.write_slurm_conf()
        self.write_config()
        self.release = read_library(self.plugin).slurm_release
        self.slurmds = [slurmd.Slurmd(4711, time.time() + 1000, self.slurm_conf)]
        monkeypatch.setenv("SLURM_CONF", str(self.slurm_conf))
        monkeypatch.setattr(sys, "executable", str(self.interpreter))
        # The environment of the tests may be anybody's, and the machine has or has not a slurmd.
        monkeypatch.setattr(plugins, "refuse_untrusted_code", lambda: None)
        monkeypatch.setattr(slurmd, "find_slurmds", lambda _: self.slurmds)
        monkeypatch.setattr(slurmd, "slurm_release", lambda _: self.release)
        monkeypatch.setattr(services, "_BOOTED", folder / "no systemd")
        monkeypatch.setattr(services, "DEFAULT_WORKER_SERVER", str(folder / "worker.socket"))
        monkeypatch.setattr(check_command, "fork_network_process", LocalNetwork)
        # They would last for all other tests.
        monkeypatch.setattr(check_command.privileges, "limit", lambda _: None)

    def line(self, *arguments: str, mode: str = "optional") -> str:
        """Return a line that loads the plugin."""
        folders = (f"--state-dir={self.state}", f"--usage-file={self.usage_log}")
        return " ".join([mode, str(self.plugin), str(self.config), *folders, *arguments])

    def write_plugstack(self, *lines: str) -> None:
        self.plugstack.write_text("".join(f"{line}\n" for line in lines or [self.line()]))

    def write_slurm_conf(self, *lines: str) -> None:
        self.slurm_conf.write_text("\n".join(["ClusterName=a", *lines]) + "\n")

    def write_config(self, *entries: object) -> None:
        self.write_config_text(json.dumps({"resources": entries or [entry("ibm_x")]}))

    def write_config_text(self, text: str) -> None:
        self.config.touch(mode=0o600)
        self.config.write_text(text)

    def look(self, *arguments: str, is_offline: bool = True) -> tuple[int, list[dict[str, str]]]:
        """Return the command's exit status and findings, none of which shows a secret."""
        how = ["--offline"] if is_offline else []
        status = command.main(["check", "--json", *how, *arguments])
        printed = self._capsys.readouterr()
        assert not any(secret in printed.out + printed.err for secret in SECRETS)
        assert printed.err == ""
        document = orjson.loads(printed.out)
        assert ["right", "doubtful", "wrong"].index(document["verdict"]) == status
        return status, list(document["findings"])

    def told(self, check: str, *arguments: str, is_offline: bool = True) -> list[str]:
        """Return what one check finds, as `verdict text`."""
        _, findings = self.look(*arguments, is_offline=is_offline)
        return [f"{each['verdict']} {each['text']}" for each in findings if each["check"] == check]


@pytest.fixture
def node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CheckedNode:
    if os.geteuid() != 0:
        pytest.skip("only root sees what jobs will meet")
    return CheckedNode(tmp_path, monkeypatch, capsys)


Spoil = Callable[[CheckedNode], object]


def entry(name: str, type_name: str = "qiskit-runtime-service", **more: Any) -> dict[str, Any]:
    """Return an entry that can be used; values of None in `environment` take a key away."""
    changes = more.pop("environment", {})
    values = {key: value for key, value in {**IBM, **changes}.items() if value is not None}
    return {"name": name, "type": type_name, "environment": values, **more}


def found(findings: list[dict[str, str]]) -> list[str]:
    """Return all that is not right, as `verdict check: text`."""
    return [
        f"{each['verdict']} {each['check']}: {each['text']}"
        for each in findings
        if each["verdict"] != "right"
    ]
