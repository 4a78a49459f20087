# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin in the epilog's process: it looks into the journal, and asks only if it must."""

from typing import Any

import pytest

from spank_qrmi.protocol import Request, Verb
from tests.unit.plugin_host import CONFIG, PluginHost, Report, answer_of, needs_valgrind


def end_job(host: PluginHost, *arguments: str, in_valgrind: bool = False, **orders: Any) -> Report:
    """Run the epilog of job 7, where SPANK knows the job and its user alone.

    The journal is in the host's folder, unless the last argument says otherwise.
    """
    no_step = ["step_id", "restart_count", "node_index", "environment", "task"]
    report = (host.run_in_valgrind if in_valgrind else host.run)(
        is_epilog=1,
        remote=0,
        options=[],
        arguments=[CONFIG, f"--state-dir={host.folder}", *arguments],
        missing=[*no_step, *orders.pop("missing", [])],
        **orders,
    )
    # Asking slurmctld there would end the process.
    assert report.all("load") + report.all("set") == []
    assert report.texts("hook") == ["slurm_spank_job_epilog 0"]
    return report


def test_job_that_holds_nothing_starts_no_worker(host: PluginHost) -> None:
    host.note_starts()
    for other in ("77-0-0-a.json", "70", ".7-0", "7", "17-0-0-a.json"):
        (host.folder / other).touch()
    for arguments in ([], [f"--state-dir={host.folder}/none"]):
        report = end_job(host, *arguments)
        assert not host.was_started, arguments
        assert report.logged("error") + report.logged("info") == [], arguments
    # Nor does one that SPANK does not know.
    (host.folder / "0-0-0-a.json").touch()
    end_job(host, missing=["job_id"])
    assert not host.was_started


def test_what_a_job_holds_is_released_by_the_last_arguments(
    host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    journal = host.folder / "journal"
    journal.mkdir()
    for name in ("77-0-0-a.json", "7-3-fffffffb-a.json", "8-0-0-a.json"):
        (journal / name).touch()
    failed = "QPU a of job 7: down"
    host.answer_and_keep(answer_of(held=1, messages=[failed], logs=[("debug", "released 0 of 1")]))
    last = (f"--state-dir={journal}", "--release-timeout=5")
    # Slurm leaves the standard descriptors closed there.
    report = end_job(host, *last, closed=["0", "1", "2"])
    arguments = (CONFIG, f"--state-dir={host.folder}", *last)
    facts = (Verb.RELEASE_JOB, 7, 0, 0, 1000, 5)
    expected = Request(*facts, arguments=arguments, slurm_conf="/etc/slurm.conf")
    assert host.requests == [expected]
    assert "released 0 of 1" in report.logged("debug")
    assert report.logged("error") == [failed]


def test_folder_that_is_none_is_logged_in_one_line(host: PluginHost) -> None:
    for name, shown in (("file", "file"), ("a\nb", "a?b")):
        path = host.folder / name
        path.touch()
        assert end_job(host, f"--state-dir={path}").logged("error") == [
            f"cannot look for what the job holds in {host.folder}/{shown}: Not a directory"
        ]


@needs_valgrind
@pytest.mark.parametrize("name", ["7-0-0-a.json", "8-0-0-a.json"])
def test_memory_is_used_as_it_should(host: PluginHost, name: str) -> None:
    (host.folder / name).touch()
    host.answer(answer_of(held=1, messages=["x"], logs=[("error", "y")]))
    end_job(host, in_valgrind=True)
