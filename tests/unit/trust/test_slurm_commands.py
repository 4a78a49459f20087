# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of Slurm are run as root: no other's program, no shell, an end."""

from pathlib import Path

import pytest

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import SlurmError
from spank_qrmi.trust import slurm_commands
from spank_qrmi.trust.slurm_commands import SlurmCommands, SlurmTimeoutError
from tests.unit.fake_scontrol import FakeScontrol
from tests.unit.outcomes import refusal_of

HOSTILE = "x; touch /tmp/owned $(id) `id` \n'\""


def test_words_are_handed_over_as_they_are_and_output_is_given(
    commands: SlurmCommands, scontrol: FakeScontrol
) -> None:
    with pytest.raises(SlurmError):
        commands.run("scontrol", HOSTILE)
    assert commands.run("scontrol", "--version") == "slurm-wlm 22.05.8\n"
    assert scontrol.calls() == [f"scontrol {HOSTILE}", "scontrol --version"]


def test_what_goes_wrong_is_one_readable_line(
    commands: SlurmCommands, scontrol: FakeScontrol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_commands, "MOST_OUTPUT_BYTES", 300_000)
    for order, complaint in (
        ("cannot\n reach \x1b[31mslurmctld", "cannot reach ?[31mslurmctld"),
        ("", "ended with status 1"),
        ("talk", "printed more than 300000 bytes"),
    ):
        scontrol.order("show", order)
        text = refusal_of(SlurmError, commands.run, "scontrol", "show")
        assert text == f"scontrol show: {complaint}"
    monkeypatch.setattr(slurm_commands, "COMMAND_SECONDS", 0.3)
    scontrol.order("show", "hang")
    text = refusal_of(SlurmTimeoutError, commands.run, "scontrol", "show")
    assert text == "scontrol show: did not end within 0 s"
    scontrol.calls()
    late = SlurmCommands(scontrol.folder, deadline=Deadline(0))
    text = refusal_of(SlurmTimeoutError, late.run, "scontrol", "show")
    assert (text, scontrol.calls()) == ("scontrol show: no time was left for it", [])


def test_program_that_is_missing_of_others_or_cannot_be_started(
    commands: SlurmCommands, scontrol: FakeScontrol, tmp_path: Path
) -> None:
    with pytest.raises(SlurmError, match=f"there is no scontrol in {tmp_path}$"):
        SlurmCommands(tmp_path).run("scontrol", "show")
    program = scontrol.folder / "scontrol"
    program.chmod(0o777)
    with pytest.raises(SlurmError, match=r"^scontrol is not run as root: .*scontrol"):
        commands.run("scontrol", "show")
    assert scontrol.calls() == []
    program.chmod(0o755)
    program.write_text("#!/nowhere/python\n")
    with pytest.raises(SlurmError, match=r"^scontrol show: cannot be started: No such file"):
        commands.run("scontrol", "show")


def test_environment_is_not_the_callers(
    commands: SlurmCommands, scontrol: FakeScontrol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    (scontrol.folder / "scontrol").write_text("#!/bin/sh\nexec /usr/bin/env")
    naming = SlurmCommands(scontrol.folder, slurm_conf="/a/slurm.conf")
    for each, slurm_conf in ((commands, "/etc/slurm/slurm.conf"), (naming, "/a/slurm.conf")):
        found = dict(line.split("=", 1) for line in each.run("scontrol").splitlines())
        assert {name: found[name] for name in found.keys() - {"PWD", "_", "OLDPWD", "SHLVL"}} == {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "SLURM_CONF": slurm_conf,
        }
