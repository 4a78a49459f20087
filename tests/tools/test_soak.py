# SPDX-License-Identifier: GPL-3.0-or-later
"""The soak without a cluster: its plan comes from the seed alone, its verdict misses nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import permutations
from typing import Any

import pytest

from loopback.soak import Result, badly_recorded, untold
from loopback.soak_plan import HELD_QPUS, JOB_BLOWS, QPUS, TIME_LIMIT, plan_soak
from spank_qrmi.clients import CLIENTS
from spank_qrmi_simulator.faults import parse_fault

SESSION = {"id": "s", "backend_name": "x", "created_at": 100.5, "max_ttl": 600, "closed_at": None}
ENTRY = {
    "resource": "x",
    "job_id": 7,
    "state": "never answered",
    "reason": "no answer",
    "acquired_at": 100,
    "ends_at": 702,
}
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


def test_quick_plan_has_nothing_that_slurm_notices_late() -> None:
    assert {job.blow for job in plan_soak(500, 1, is_quick=True)} == {"", *JOB_BLOWS}


@pytest.mark.parametrize(
    ("entries", "left"),
    [
        ([], [SESSION]),
        ([ENTRY], []),
        ([{**ENTRY, "resource": "y"}], [SESSION]),
        ([{**ENTRY, "ends_at": 700}], [SESSION]),
        ([{**ENTRY, "ends_at": None}], []),
        ([{**ENTRY, "acquired_at": 101}], [SESSION]),
    ],
)
def test_open_session_is_told_by_an_entry(
    entries: Sequence[dict[str, Any]], left: Sequence[dict[str, Any]]
) -> None:
    assert untold([SESSION], entries) == left


def test_each_entry_tells_of_one_session() -> None:
    assert untold([SESSION, {**SESSION, "id": "t"}], [ENTRY]) == [{**SESSION, "id": "t"}]


def record_of(session_id: str, **changes: object) -> dict[str, Any]:
    shown = f"sha256:{sha256(session_id.encode()).hexdigest()[:16]}"
    record = {"acquisition_id": session_id, "session": shown, "resource": "x", "result": "released"}
    return {**record, **changes}


UNHELD = record_of("f", session=None, resource="FRESNEL")
UNANSWERED = record_of("u", session=None, result="unanswered")


@pytest.mark.parametrize(
    ("records", "entries", "problems"),
    [
        ([record_of("s"), UNHELD], [], []),
        ([UNANSWERED], [], []),
        ([], [ENTRY], []),
        ([record_of("s"), UNANSWERED], [ENTRY], []),
        ([], [], ["1 sessions on x have no record"]),
        ([UNHELD], [{**ENTRY, "resource": "y"}], ["1 sessions on x have no record"]),
        (
            [record_of("s"), record_of("s", acquisition_id="t")],
            [],
            [f"session {record_of('s')['session']} has 2 records"],
        ),
        ([record_of("s"), UNHELD, UNHELD], [], ["acquisition f has 2 records"]),
        (
            [record_of("s"), record_of("t")],
            [],
            [f"session {record_of('t')['session']} has 1 records"],
        ),
    ],
)
def test_each_session_has_one_record(
    records: Sequence[dict[str, Any]], entries: Sequence[dict[str, Any]], problems: Sequence[str]
) -> None:
    assert badly_recorded([SESSION], records, entries) == problems


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (
            replace(GOOD, sessions=[SESSION], records=[record_of("s")]),
            "session s on x is open, and no entry tells of it",
        ),
        (replace(GOOD, records=[UNHELD, UNHELD]), "acquisition f has 2 records"),
        (
            replace(GOOD, entries=[{**ENTRY, "state": "held"}]),
            "the journal still holds x of job 7: held",
        ),
        (replace(GOOD, unreadable=["a: b"]), "the journal holds a: b"),
        (replace(GOOD, nodes={"n1": "drained: x"}), "node n1 is drained: x"),
        (replace(GOOD, processes=["5 worker"]), "left running: 5 worker"),
    ],
)
def test_what_must_not_be_is_a_problem(result: Result, problem: str) -> None:
    assert result.problems() == [problem]


def test_what_was_never_answered_is_none() -> None:
    closed = {**SESSION, "id": "t", "closed_at": 103.0, "closed_how": "drained"}
    records = [record_of("t")]
    result = replace(GOOD, sessions=[SESSION, closed], entries=[ENTRY], records=records)
    assert result.problems() == []
    assert "records          1: 1 released" in result.lines()
    assert "sessions closed  1: 1 drained" in result.lines()
    assert "sessions open    1, until their max_ttl" in result.lines()
