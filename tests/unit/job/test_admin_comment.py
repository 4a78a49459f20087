# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job has used stands in its AdminComment, and what a site has there stays to the letter."""

import fcntl
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from spank_qrmi.admin import command as cli
from spank_qrmi.job import admin_comment
from spank_qrmi.job.admin_comment import comment_in, job_name, merged_comment
from spank_qrmi.state.journal import Journal
from spank_qrmi.trust import slurm_commands
from spank_qrmi.usage import Usage
from tests.unit.conversation import ServingWorker
from tests.unit.fake_scontrol import FakeScontrol
from tests.unit.fake_vendor import FakeVendor
from tests.unit.job.job_node import Node

RECORD: dict[str, Any] = {
    "acquisition_id": "1",
    "resource": "ibm_a",
    "running": "2026-01-01T00:00:00Z",
    "finished": "2026-01-01T00:01:00Z",
    "result": "released",
    "usage": 60,
    "uid": 1000,
}
SHOWN = {name: value for name, value in RECORD.items() if name != "uid"}
OURS = json.dumps([SHOWN], separators=(",", ":"))
SITES = '{"cost": 1.50,  "by":{"spank_qrmi":[]} '
pytestmark = pytest.mark.usefixtures("command_of_this_process")


def test_comment_keeps_what_is_there_and_has_each_record_once() -> None:
    for comment, expected in (
        ("", f'{{"spank_qrmi":{OURS}}}'),
        ("(null)", f'{{"spank_qrmi":{OURS}}}'),
        ("{}", f'{{"spank_qrmi":{OURS}}}'),
        (f"{SITES}}}", f'{SITES.rstrip()},"spank_qrmi":{OURS}}}'),
        (f'{{"spank_qrmi":{OURS}}}', f'{{"spank_qrmi":{OURS}}}'),
        (f'{SITES}, "spank_qrmi":[]}}', f'{SITES},"spank_qrmi":{OURS}}}'),
        ("text of the site's", None),
        ("[1]", None),
        ('{"spank_qrmi":"of the site"}', None),
        ('{"spank_qrmi":[],"cost":1}', None),
        ('{"spank_qrmi" :[]}', None),
        ('{"x":"' + "x" * 40_000 + '"}', None),
    ):
        merged = merged_comment(comment, [RECORD])
        assert merged == expected, comment
        if merged is not None:
            assert json.loads(merged)["spank_qrmi"] == [SHOWN]
            assert merged_comment(merged, [RECORD]) == merged
    # A later record takes the place of an earlier one.
    first = merged_comment("", [RECORD, {**RECORD, "acquisition_id": "2"}])
    assert first is not None
    second = merged_comment(first, [{**RECORD, "usage": 2.5}])
    assert second is not None
    usage = {each["acquisition_id"]: each["usage"] for each in json.loads(second)["spank_qrmi"]}
    assert usage == {"1": 2.5, "2": 60}


def test_comment_is_read_only_where_it_is_certain() -> None:
    for shown, expected in (
        ("JobId=7 JobName=x\n   Comment=a \n   Power=\n", ""),
        ("JobId=7\n   AdminComment=text \n   Power=\n", "text"),
        ("JobId=7\n   AdminComment={}\n\n", "{}"),
        ("JobId=7\n   AdminComment={}\nsecond line\n   Power=\n", None),
        ("JobId=7 JobName=x\n   AdminComment={}\n   A=\n   AdminComment=text\n   Power=\n", None),
        ("JobId=7 JobName=x\nAdminComment={}\n   A=\n   AdminComment=text\n   Power=\n", None),
    ):
        assert comment_in(shown) == expected, shown


def test_part_of_a_job_is_named_alone() -> None:
    for changes, expected in (
        ({}, "7"),
        ({"array_job_id": 5, "array_task_id": 0}, "5_0"),
        ({"het_job_id": 6, "het_job_offset": 1}, "6+1"),
    ):
        assert job_name({"job_id": 7, **changes}) == expected


class SlurmNode(Node):
    """A node with an scontrol that shows and changes the comment of job 7."""

    def __init__(self, folder: Path, serving: ServingWorker, vendor: FakeVendor) -> None:
        super().__init__(folder, serving, vendor)
        self.scontrol = FakeScontrol(folder / "slurm")
        self.calls: list[str] = []
        self.scontrol.order(" update ", "print ")
        self.show("Comment=a")

    def show(self, line: str) -> None:
        self.scontrol.order(" show ", f"print JobId=7\n   {line}\n   Power=\n")

    @property
    def arguments(self) -> tuple[str, ...]:
        return (*super().arguments, "--usage=both")

    def comment(self) -> list[dict[str, Any]]:
        """Return our part of the comment, and let Slurm tell that from now on."""
        self.calls += self.scontrol.calls()
        comment = "".join(self.calls[-1:]).partition(" admincomment=")[2]
        if not comment:
            return []
        self.show(f"AdminComment={comment}")
        found: list[dict[str, Any]] = json.loads(comment)["spank_qrmi"]
        return found

    def by_plugstack(self, *words: str) -> int:
        plugstack = self.config_path.with_name("plugstack.conf")
        plugstack.write_text(f"optional spank_qrmi.so {' '.join(self.arguments)}\n")
        return cli.main(["release", *words, f"--plugstack={plugstack}"])

    def timer(self) -> int:
        return self.by_plugstack("--orphaned", "--due")

    def release_a(self, told: str) -> None:
        """Acquire and release `a`; the log tells so of its comment, and nothing fails."""
        self.acquire("a")
        answer = self.release()
        assert (answer.messages, answer.held, answer.logged("e")) == ([], 0, [])
        assert [line for line in answer.logged("i") if re.search(told, line)]
        assert (self.comment(), len(self.records())) == ([], 1)

    def assert_timer_tells(self) -> None:
        """Let the timer tell Slurm of `a`, whose record is there already."""
        assert self.timer() == 0
        assert (names(self.comment()), self.entries(), len(self.records())) == (["a"], [], 1)


@pytest.fixture
def node(
    tmp_path: Path, serving: ServingWorker, vendor: FakeVendor, monkeypatch: pytest.MonkeyPatch
) -> SlurmNode:
    node = SlurmNode(tmp_path, serving, vendor)
    monkeypatch.setattr(admin_comment, "COMMENT_SECONDS", 60.0)
    monkeypatch.setattr(slurm_commands, "USUAL_FOLDERS", (tmp_path / "none", node.scontrol.folder))
    return node


def names(found: Sequence[dict[str, Any]]) -> list[str]:
    return sorted(each["resource"] for each in found)


def test_end_of_the_step_tells_its_job(node: SlurmNode) -> None:
    node.vendor.brought = {"b"}
    node.acquire("a,b")
    answer = node.release()
    assert (answer.messages, answer.logged("e")) == ([], [])
    assert names(node.comment()) == ["a", "b"]
    show, update = node.calls
    assert show == "scontrol show job 7"
    assert update.startswith("scontrol update jobid=7 admincomment={")
    assert (len(node.records()), node.entries()) == (2, [])
    # Nothing is told twice.
    node.timer()
    assert node.scontrol.calls() == []


def test_what_is_told_to_end_is_told_at_once_and_anew_once_it_is_gone(node: SlurmNode) -> None:
    node.vendor.only_agrees = True
    node.vendor.usage = Usage(2.5)
    node.acquire("a")
    node.release()
    [first] = node.comment()
    assert (first["resource"], first["usage"] == 2.5) == ("a", False)
    assert node.command("--all") == 0
    assert names(node.comment()) == ["a"]
    node.acquire("b")
    node.release()
    assert node.by_plugstack("--all") == 0
    assert {each["resource"]: each["usage"] for each in node.comment()}["b"] == 2.5


def test_epilog_leaves_it_to_the_timer(node: SlurmNode) -> None:
    node.acquire("a")
    node.release_job()
    assert (node.scontrol.calls(), len(node.records())) == ([], 1)
    over = node.entry()
    assert (over.is_over, over.is_filed, over.needs_release) == (True, True, False)
    assert list(Journal(node.state_directory).entries(7)) == []
    node.assert_timer_tells()


@pytest.mark.parametrize("argument", ["--usage=admincomment", "--usage=file", "--usage=none"])
def test_argument_says_who_is_told(node: SlurmNode, argument: str) -> None:
    node.acquire("a", argument)
    assert node.release(argument).messages == []
    is_commenting, is_filing = argument.endswith("comment"), argument.endswith("file")
    assert (bool(node.comment()), bool(node.records())) == (is_commenting, is_filing)
    assert node.entries() == []


@pytest.mark.parametrize(
    ("order", "seconds", "trouble"),
    [
        ("Unable to contact", 60.0, "Unable to contact"),
        ("hang", 0.4, "(did not end within 0 s|no time was left for it)"),
    ],
)
def test_trouble_with_slurm_fails_no_release(
    node: SlurmNode, monkeypatch: pytest.MonkeyPatch, *, order: str, seconds: float, trouble: str
) -> None:
    node.scontrol.order(" show ", order)
    monkeypatch.setattr(admin_comment, "COMMENT_SECONDS", seconds)
    node.release_a(f"is not in its AdminComment: scontrol show job: {trouble}")
    # The epilog has nothing to do with it.
    assert not list(node.state_directory.glob("7-*"))
    assert len(node.entries()) == 1
    node.show("AdminComment=")
    node.assert_timer_tells()


def test_job_that_cannot_be_told_any_longer_is_not_asked_for_again(node: SlurmNode) -> None:
    for complaint, later_seconds in (
        ("slurm_load_jobs error: Invalid job id specified", 0),
        ("Job has already finished for job 7", 0),
        ("slurm_load_jobs error: Unable to contact slurm controller", 100_000),
    ):
        node.scontrol.order(" show ", complaint)
        node.acquire("a")
        node.release_job()
        path = node.state_directory / node.entry().file_name
        at = path.stat().st_mtime - later_seconds
        os.utime(path, (at, at))
        assert (node.timer(), node.entries()) == (0, []), complaint
    assert len(node.records()) == 3


def test_scontrol_reads_the_slurm_conf_of_the_step(node: SlurmNode) -> None:
    (node.scontrol.folder / "scontrol").write_text('#!/bin/sh\necho "$SLURM_CONF" >&2\nexit 1\n')
    node.acquire("a")
    answer = node.release(slurm_conf="/a/slurm.conf")
    assert answer.logged("i")[-1].endswith("AdminComment: scontrol show job: /a/slurm.conf")


def test_text_of_the_sites_stays_and_the_log_says_so(node: SlurmNode) -> None:
    node.show("AdminComment=of the site ")
    node.release_a("which is kept as it is")
    assert node.entries() == []


def test_two_processes_change_no_comment_at_once(
    node: SlurmNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.state_directory.mkdir(mode=0o700)
    folder = os.open(node.state_directory, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    monkeypatch.setattr(admin_comment, "COMMENT_SECONDS", 0.1)
    node.release_a("another process changes comments")
    os.close(folder)
    assert node.calls == []
    node.assert_timer_tells()
