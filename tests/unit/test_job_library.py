# SPDX-License-Identifier: GPL-3.0-or-later
"""The library beside a plugin: loaded only for a job that asks for something, and if it fits."""

import subprocess
from pathlib import Path

import pytest

from loopback.installation import job_library_of
from tests.unit.plugin_host import CONFIG, FALLBACK, PluginHost, Report

NOT_WHOLE = "the plugin on this node is not whole; tell the administrator: slurmd's log says more"


MISSING = "$ORIGIN/spank_qrmi_job.so: cannot open shared object file: No such file or directory"


def cannot_load(reason: str) -> str:
    return f"cannot load spank_qrmi_job.so, which belongs beside the plugin: {reason}"


def assert_ends(report: Report, reason: str) -> None:
    """Assert that the job was ended, with one line for its user and one for the administrator."""
    assert report.task_statuses == [1]
    assert report.shown_to_user == [f"--qpu: {NOT_WHOLE}"]
    assert report.logged("error") == [cannot_load(reason)]


def test_job_that_asks_for_nothing_does_without(host: PluginHost) -> None:
    job_library_of(host.plugin).unlink()
    report = host.run(options=[])
    assert report.task_statuses == [0]
    assert report.logged("error") + report.shown_to_user == []


@pytest.mark.parametrize("remote", [0, 1])
@pytest.mark.parametrize("arguments", [[CONFIG], [CONFIG, "--on-failure=continue"]])
def test_missing_library(host: PluginHost, remote: int, arguments: list[str]) -> None:
    job_library_of(host.plugin).unlink()
    report = host.run(remote=remote, arguments=arguments)
    assert report.texts("callback") == ["-1"]
    if remote:
        assert_ends(report, MISSING)
    else:
        assert report.logged("error") == [cannot_load(MISSING)]


def test_missing_library_for_a_hidden_option(host: PluginHost) -> None:
    job_library_of(host.plugin).unlink()
    report = host.run(options=[], environment=FALLBACK + b"=a")
    assert_ends(report, MISSING)


@pytest.mark.parametrize("more", ["", "long long job_library_build(void) { return 1; }"])
def test_library_of_another_build(host: PluginHost, tmp_path: Path, more: str) -> None:
    source = tmp_path / "other.c"
    source.write_text(f"int job_library_keep_qpus(void) {{ __builtin_trap(); }} {more}\n")
    library = job_library_of(host.plugin)
    library.unlink()
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    report = host.run()
    assert_ends(report, "it is of another build than the plugin; install both anew")


@pytest.mark.parametrize("always", [False, True])
def test_missing_library_of_qrun(qrun_host: PluginHost, always: bool) -> None:
    """A job that asked for nothing is never ended."""
    job_library_of(qrun_host.plugin).unlink()
    report = qrun_host.run(
        options=[] if always else ["backend"], arguments=["--always"] if always else []
    )
    assert report.task_statuses == [0 if always else 1]
    assert report.shown_to_user == ([] if always else [f"--q-backend: {NOT_WHOLE}"])
    [line] = report.logged("error")
    assert line.startswith("cannot load spank_ibm_qrun_job.so, ")


def test_worker_starts_before_slurmctld_is_asked(host: PluginHost) -> None:
    """Python gets ready while slurmctld answers, which takes longer where that is busy."""
    host.play("exit 3")
    assert host.run().all("load-beside-worker") == [b"7"]


def test_missing_library_in_the_epilog(host: PluginHost, tmp_path: Path) -> None:
    """What a job holds stays in the journal, for the release at boot or by the timer."""
    job_library_of(host.plugin).unlink()
    journal = tmp_path / "journal"
    journal.mkdir()
    arguments = [CONFIG, f"--state-dir={journal}"]
    epilog = {"is_epilog": 1, "remote": 0, "options": [], "arguments": arguments}
    assert host.run(**epilog).logged("error") == []
    entry = journal / "7-0-0-a.json"
    entry.touch()
    assert host.run(**epilog).logged("error") == [cannot_load(MISSING)]
    assert entry.exists()
