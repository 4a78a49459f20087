# SPDX-License-Identifier: GPL-3.0-or-later
"""Which QPUs a job may use, and what its user reads of the others."""

import logging
from dataclasses import replace

import pytest

from spank_qrmi.configuration.access import Access
from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ResolutionError
from spank_qrmi.job.permissions import keep_permitted
from spank_qrmi.job.resolution import Resolution
from spank_qrmi.protocol import Request, Verb
from spank_qrmi.trust import name_service

JOB = Request(
    *(Verb.ACQUIRE, 7, 0, 0, 1000, 60), account="physics", partition="quantum", gids=(1000, 5000)
)
AGAIN = "submit it again"
ASK = "ask the administrator"


def reason_for(access: Access, request: Request = JOB) -> str:
    """Return why the job may not use a resource, empty if it may."""
    resolution = keep_permitted(
        Resolution((Resource("a", "fake", {}, access=access),), ()), request, Deadline(60)
    )
    assert len(resolution.resources) + len(resolution.rejected) == 1
    return "".join(str(error) for _, error in resolution.rejected)


def test_user_or_group_lets_in() -> None:
    reasons = {
        Access(): "",
        Access(users=("2000", "root", "1000")): "",
        Access(users=("2000", "root")): f"only for users whom the site has named: {ASK}",
        Access(groups=("5000",)): "",
        Access(groups=("1000",)): "",
        Access(groups=("5001", "daemon")): f"only for groups 5001, daemon: {ASK}",
        Access(groups=("daemon",)): f"only for group daemon: {ASK}",
        Access(users=("2000",), groups=("5000",)): "",
        Access(users=("1000",), groups=("5001",)): "",
        # A number of the one kind is none of the other.
        Access(users=("5000",), groups=("2000",)): (
            f"only for users whom the site has named or group 2000: {ASK}"
        ),
    }
    assert {access: reason_for(access) for access in reasons} == reasons


def test_account_and_partition_must_hold_too_and_slurm_must_tell_what_counts() -> None:
    untold = replace(JOB, account=None, partition=None, gids=())
    account = "submit it with --account"
    partition = "submit it with --partition"
    both = Access(users=("1000",), accounts=("physics",), partitions=("quantum",))
    reasons = {
        (both, JOB): "",
        (replace(both, accounts=("chemistry", "PHYSICS")), JOB): "",
        (both, replace(JOB, account="Physics")): "",
        (replace(both, users=("1",)), JOB): f"only for users whom the site has named: {ASK}",
        (both, replace(JOB, account="x")): (
            f"only for account physics; this job has account x: {account}"
        ),
        (both, replace(JOB, account="")): (
            f"only for account physics; this job has no account: {account}"
        ),
        (both, replace(JOB, partition="Quantum")): (
            f"only for partition quantum; this job has partition Quantum: {partition}"
        ),
        (both, replace(JOB, partition="batch,quantum")): (
            f"only for partition quantum; this job has partition batch,quantum: {partition}"
        ),
        (replace(both, partitions=("a", "b")), JOB): (
            f"only for partitions a, b; this job has partition quantum: {partition}"
        ),
        (Access(), untold): "",
        (Access(users=("1000",), groups=("0",)), untold): "",
        (Access(accounts=("a",)), untold): (
            f"only for account a, and Slurm does not tell which account this job has: {AGAIN}"
        ),
        (Access(partitions=("a",)), untold): (
            f"only for partition a, and Slurm does not tell which partition this job has: {AGAIN}"
        ),
        (Access(groups=("0",)), untold): (
            f"only for group 0, and Slurm does not tell this job's groups: {AGAIN}"
        ),
    }
    assert {case: reason_for(*case) for case in reasons} == reasons


def test_what_cannot_be_looked_up_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_service, "_GETENT", "/nowhere")
    assert reason_for(Access(users=("alice", "1000"))) == (
        "only for users whom the site has named, and this node cannot look users up: /nowhere "
        "cannot be started (No such file or directory): submit the job again, or tell the "
        "administrator"
    )


def test_name_that_the_node_does_not_know_is_told_to_the_site(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert reason_for(Access(users=("no-such-user", "1000"))) == ""
        assert caplog.messages == []
        assert reason_for(Access(groups=("no-such-group",)))
    assert caplog.messages == ["name(a): this node does not know all of its users and groups"]


def test_long_lists_take_a_short_line() -> None:
    names = tuple(f"{number:03}{'x' * 250}" for number in range(256))
    for access in (Access(groups=names), Access(accounts=names), Access(partitions=names)):
        assert len(reason_for(access)) < 600


def test_the_rest_stays_in_its_order() -> None:
    unknown = ("x", ResolutionError("unknown"))
    resources = tuple(
        Resource(name, "fake", {}, access=Access(users=(user,)))
        for name, user in (("a", "1000"), ("b", "1"), ("c", "1000"), ("d", "1"))
    )
    resolution = keep_permitted(Resolution(resources, (unknown,)), JOB, Deadline(60))
    assert [each.name for each in resolution.resources] == ["a", "c"]
    assert [name for name, _ in resolution.rejected] == ["x", "b", "d"]
