# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever ends an acquisition, it leaves one record, and what was never had leaves none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spank_qrmi.clients import CLIENTS
from spank_qrmi.errors import AcquisitionError, ReleaseError, ServiceError
from spank_qrmi.state.journal import LockedEntry
from spank_qrmi.usage import Usage
from tests.unit.fake_vendor import TYPE
from tests.unit.job.job_node import NOW, Node, entry_of
from tests.unit.local_network import LocalNetwork

pytestmark = pytest.mark.usefixtures("command_of_this_process")


def both(ended_by: str) -> list[tuple[str, str, str]]:
    return [(name, "released", ended_by) for name in "ab"]


def test_end_of_the_step(node: Node) -> None:
    node.vendor.brought = {"b"}
    assert node.acquire("a,b").held == 2
    assert node.records() == []
    assert node.release().messages == []
    assert (node.ends(), node.entries()) == (both("exit"), [])
    # Nobody asked the service about what it does not hold.
    assert node.vendor.events_of("release") == {"token-a"}
    assert [each["session"] is None for each in node.records()] == [False, True]
    assert node.release().messages == []
    assert len(node.records()) == 2


def test_end_of_the_step_that_holds_nothing_opens_no_network(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.vendor.brought = {"a"}
    node.acquire("a")
    node.leave(entry_of("b", job_id=5, token=None, holds_nothing=True, ends_at=1000))
    monkeypatch.setattr(LocalNetwork, "open", lambda *_, **__: pytest.fail("opened"))
    assert node.release().messages == []
    assert node.ends() == [("a", "released", "exit"), ("b", "released", "another job")]


ENDS: dict[str, Callable[[Node], object]] = {
    "epilog": lambda node: node.release_job().messages,
    "another job": lambda node: node.release().messages,
    "command": lambda node: node.command("--all"),
    "timer": lambda node: node.command("--orphaned", "--due"),
}


@pytest.mark.parametrize("ended_by", ENDS)
def test_record_says_who_has_ended_it(node: Node, ended_by: str) -> None:
    """Also of what the service did not hold."""
    job_id = 7 if ended_by == "epilog" else 5
    node.leave(entry_of("a", job_id=job_id))
    node.leave(entry_of("b", job_id=job_id, token=None, holds_nothing=True, ends_at=1000))
    assert not ENDS[ended_by](node)
    assert (node.ends(), node.entries()) == (both(ended_by), [])


def used_of(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record[key] for key in ("usage", "usage_source", "jobs", "shots"))


@pytest.mark.parametrize(
    ("orders", "told", "used"),
    [
        ({}, Usage(0.0, 2, 300), (0, "service", 2, 300)),
        ({}, Usage(jobs=2), (10, "held", 2, None)),
        ({"usage token-a": ServiceError("unknown")}, Usage(2.5), (10, "held", None, None)),
    ],
)
@pytest.mark.usefixtures("clock")
def test_usage_is_what_the_service_tells_of_what_is_gone(
    node: Node, orders: dict[str, Any], told: Usage, used: tuple[Any, ...]
) -> None:
    node.vendor.only_agrees, node.vendor.usage, node.vendor.orders = True, told, orders
    node.leave(entry_of("a", granted_at=NOW - 10))
    node.release()
    # No job waits for that.
    assert (node.vendor.events_of("usage"), node.records()) == (set(), [])
    assert node.command("--all") == 0
    assert node.ends() == [("a", "released", "command")]
    assert list(map(used_of, node.records())) == [used]
    assert node.vendor.events_of("usage") == {"token-a"}


def test_what_is_gone_at_once_is_asked_about_when_no_job_waits(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CLIENTS[TYPE], "tells_usage", True)
    node.vendor.usage = Usage(2.5, 3, 400)
    node.acquire("a")
    node.leave(entry_of("b", job_id=5, has_users_endpoint=True))
    assert node.release().messages == []
    # A user's own endpoint is asked for nothing more.
    assert node.ends() == [("b", "released", "another job")]
    assert node.command("--all") == 0
    record, _ = node.records()
    assert (used_of(record), node.entries()) == ((2.5, "service", 3, 400), [])
    verbs = ("release", "look again", "usage")
    asked = [event for event in node.vendor.events if event.startswith(verbs)]
    assert sorted(asked) == ["release token-a", "release token-b", "usage token-a"]


def test_what_nobody_could_release_until_it_was_over(node: Node) -> None:
    """The answer never came, or it is at an endpoint of the user's."""
    node.leave(entry_of("a", token=None, ends_at=1, failure="cut off"))
    node.leave(entry_of("b", has_users_endpoint=True, ends_at=1, failure="down"))
    assert node.command("--all") == 0
    assert node.ends() == [("a", "unanswered", "command"), ("b", "dropped", "command")]


def test_what_was_undone_before_the_job_had_it_or_later(node: Node) -> None:
    paused = AcquisitionError("paused")
    down = {"release token-b": ReleaseError("down")}
    node.vendor.orders = {"check a": paused, "check b": paused, **down}
    assert node.acquire("a,b").verdict == "fail"
    assert node.ends() == [("a", "refused", "acquisition")]
    node.vendor.orders = {}
    node.release()
    assert node.ends() == [("a", "refused", "acquisition"), ("b", "refused", "exit")]
    assert [record["reason"] for record in node.records()] == ["paused", "paused"]


def test_what_was_never_had_leaves_no_record(node: Node) -> None:
    node.vendor.brought = {"b"}
    for refused in ("make a", "acquire a", "make b", "acquire b", "check b"):
        node.vendor.orders = {refused: AcquisitionError("refused")}
        held = node.acquire(refused[-1]).held
        assert (held, node.records(), node.entries()) == (0, [], []), refused


def test_argument_says_where_records_go_or_that_nothing_is_noted_and_nobody_asked(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.acquire("a")
    node.release(f"--usage-file={tmp_path}/other")
    node.usage_path = tmp_path / "other"
    assert node.ends() == [("a", "released", "exit")]
    monkeypatch.setattr(CLIENTS[TYPE], "tells_usage", True)
    node.vendor.brought = {"b"}
    answer = node.acquire("a,b", "--usage=none")
    assert (answer.held, len(node.entries())) == (1, 1)
    node.release("--usage=none")
    assert (node.entries(), node.vendor.events_of("usage")) == ([], set())


@pytest.mark.parametrize("later", ["another job", "timer"])
def test_log_that_takes_nothing_fails_no_release(node: Node, later: str) -> None:
    node.vendor.brought = {"b"}
    node.acquire("a,b")
    node.usage_path.parent.touch()
    answer = node.release()
    assert (answer.messages, answer.held, answer.logged("e")) == ([], 0, [])
    assert len([line for line in answer.logged("i") if "is recorded later: " in line]) == 2
    assert node.vendor.events_of("release") == {"token-a"}
    # The job's epilog finds nothing of it.
    assert not list(node.state_directory.glob("7-*"))
    assert node.release_job().messages == []
    node.usage_path.parent.unlink()
    assert not ENDS[later](node)
    assert (node.ends(), node.entries()) == (both("exit"), [])


def test_worker_killed_before_it_took_the_entry_away(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.acquire("a")
    with monkeypatch.context() as patch:
        patch.setattr(LockedEntry, "remove", lambda *_: None)
        node.release()
    assert node.entry().token is None
    assert node.release_job().messages == []
    assert (len(node.records()), node.entries()) == (1, [])
    assert node.vendor.events.count("release token-a") == 1


def test_record_says_what_slurm_tells_and_slurm_conf_calls_the_cluster(
    node: Node, tmp_path: Path
) -> None:
    """What is no text stops no job."""
    facts = {"account": "caf\udcff", "user": "alice", "partition": "", "array_job_id": 5}
    path = tmp_path / "slurm.conf"
    for text in (None, "", "ClusterName=one\n"):
        if text is not None:
            path.write_text(text)
        assert node.acquire("a", **facts).verdict == "run", text
        node.release_job(str(path))
    told = [[record[name] for name in (*facts, "cluster")] for record in node.records()]
    assert told == [["caf?", "alice", None, 5, cluster] for cluster in (None, None, "one")]
