# SPDX-License-Identifier: GPL-3.0-or-later
"""A salloc that starts no shell hands its options on to nobody, and says so."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.plugin_host import Order, PluginHost

NO_SHELL = ["--no-shell"]


def said(host: PluginHost, command: str, words: Sequence[str], **orders: Order) -> list[str]:
    """Return what a command of Slurm's says that loads the plugin."""
    program = Path(shutil.copy(host.program, host.folder / command))
    folder = host.folder / "other"
    folder.mkdir()
    report = PluginHost(folder, program, host.plugin).run(words=words, remote=0, **orders)
    return report.logged("info") + report.logged("error")


def warning(option: str) -> str:
    return (
        f"warning: --{option} has no effect with salloc --no-shell: give it to each srun --jobid=ID"
    )


@pytest.mark.parametrize("words", [NO_SHELL, ["-N1", *NO_SHELL, "--qpu=a"], ["--no-s"]])
def test_option_that_reaches_no_step_is_told(host: PluginHost, words: list[str]) -> None:
    assert said(host, "salloc", words) == [warning("qpu")]


def test_options_of_qrun_that_reach_no_step_are_told(qrun_host: PluginHost) -> None:
    lines = said(qrun_host, "salloc", NO_SHELL, options="ibm_torino", second_options="sampler")
    assert lines == [warning("q-backend")]


@pytest.mark.parametrize(
    ("command", "words", "options"),
    [
        ("salloc", ["--qpu=a", "bash"], ["a"]),
        ("salloc", ["--no-", "--no-shells", "no-shell"], ["a"]),
        ("salloc", [], ["a"]),
        ("salloc", NO_SHELL, []),
        ("sbatch", NO_SHELL, ["a"]),
    ],
)
def test_other_commands_say_nothing(
    host: PluginHost, command: str, words: list[str], options: list[str]
) -> None:
    assert said(host, command, words, options=options) == []
