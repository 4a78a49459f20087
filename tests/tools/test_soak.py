# SPDX-License-Identifier: GPL-3.0-or-later
"""The soak without a cluster: its plan comes from the seed alone, its verdict misses nothing."""

from collections import Counter
from dataclasses import replace
from itertools import permutations
from typing import Any

from loopback.soak import Result
from loopback.soak_plan import HELD_QPUS, JOB_BLOWS, QPUS, SERVER_KILLED, TIME_LIMIT, plan_soak
from spank_qrmi.clients import CLIENTS
from spank_qrmi_simulator.faults import parse_fault
from tests.tools.test_soak_records import ENTRY, SESSION, UNHELD, record_of

CLOSED = {**SESSION, "id": "t", "closed_at": 103.0, "closed_how": "drained"}
GOOD = Result(
    submitted=1,
    states=Counter(["COMPLETED"]),
    blows=Counter(),
    faults=Counter(),
    sessions=(),
    entries=(),
    unreadable=(),
    nodes={"n1": "idle"},
    processes=(),
    cancelled_at_end=0,
)


def test_plan_comes_from_the_seed_alone() -> None:
    planned = plan_soak(500, 1)
    assert planned == plan_soak(500, 1) != plan_soak(500, 2)
    assert sum(job.tasks for job in planned) == 500
    assert any(job.blow == TIME_LIMIT for job in planned)
    for job in planned:
        if job.fault:
            parse_fault(job.fault)


def test_plan_has_qpus_of_each_type_together_and_most_often_one_that_is_held() -> None:
    asked = [job.qpus.split(",") for job in plan_soak(500, 1)]
    assert {QPUS[name] for names in asked for name in names} == CLIENTS.keys()
    pairs = {pair for names in asked for pair in permutations(names, 2)}
    assert pairs == {*permutations(QPUS, 2)}
    held = [names for names in asked if set(names) & set(HELD_QPUS)]
    assert len(asked) / 2 < len(held) < len(asked)


def test_plan_has_jobs_of_every_way_to_hold() -> None:
    planned = plan_soak(500, 1)

    assert {job.is_served for job in planned} == {True, False}
    assert any("--qpu-hold=step" in job.options and "srun" in job.script for job in planned)
    assert any("srun --qpu=" in job.script for job in planned)
    assert any(job.is_served and job.blow == SERVER_KILLED for job in planned)


def test_quick_plan_has_nothing_that_slurm_notices_late() -> None:
    assert {job.blow for job in plan_soak(500, 1, is_quick=True)} == {"", *JOB_BLOWS}


def test_what_must_not_be_is_a_problem() -> None:
    problems: tuple[tuple[dict[str, Any], str], ...] = (
        (
            {"sessions": [SESSION], "records": [record_of("s")]},
            "session s on x is open, and no entry tells of it",
        ),
        (
            {"records": [UNHELD, UNHELD]},
            "the record of acquisition f of FRESNEL by job 7 is there once more",
        ),
        ({"sessions": [CLOSED]}, "session t on x has no record"),
        ({"entries": [{**ENTRY, "state": "held"}]}, "the journal still holds x of job 7: held"),
        ({"unreadable": ["a: b"]}, "the journal holds a: b"),
        ({"nodes": {"n1": "drained: x"}}, "node n1 is drained: x"),
        ({"leftovers": [".new-7"]}, "left behind: .new-7"),
        ({"processes": ["5 worker"]}, "left running: 5 worker"),
    )
    for changes, problem in problems:
        assert replace(GOOD, **changes).problems() == [problem]


def test_what_was_never_answered_is_none() -> None:
    records = [record_of("t")]
    result = replace(GOOD, sessions=[SESSION, CLOSED], entries=[ENTRY], records=records)
    assert result.problems() == []
    assert "records          1: 1 released" in result.lines()
    assert "sessions closed  1: 1 drained" in result.lines()
    assert "sessions open    1, until their max_ttl" in result.lines()
