# SPDX-License-Identifier: GPL-3.0-or-later
"""The soak without a cluster: its plan comes from the seed alone, its verdict misses nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import permutations
from typing import Any

from loopback.soak import Result
from loopback.soak_plan import HELD_QPUS, JOB_BLOWS, QPUS, SERVER_KILLED, TIME_LIMIT, plan_soak
from loopback.soak_records import compare, untold
from spank_qrmi.clients import CLIENTS
from spank_qrmi_simulator.faults import parse_fault

SESSION = {"id": "s", "backend_name": "x", "created_at": 100.5, "max_ttl": 600, "closed_at": None}
OTHER = {**SESSION, "id": "t"}
ENTRY = {
    "resource": "x",
    "job_id": 7,
    "state": "never answered",
    "reason": "no answer",
    "acquired_at": 100,
    "ends_at": 702,
}


def record_of(session_id: str, **changes: object) -> dict[str, Any]:
    record = {
        "acquisition_id": session_id,
        "job_id": 7,
        "session": f"sha256:{sha256(session_id.encode()).hexdigest()[:16]}",
        "resource": "x",
        "type": "qiskit-runtime-service",
        "result": "released",
        "created": "1970-01-01T00:01:40Z",
        "finished": "1970-01-01T00:03:20Z",
    }
    return {**record, **changes}


UNHELD = record_of("f", session=None, resource="FRESNEL", type="pasqal-cloud")
UNANSWERED = record_of("u", session=None, result="unanswered", finished="1970-01-01T00:11:42Z")
S, T = record_of("s"), record_of("t")
AGAIN = {**S, "acquisition_id": "again"}
S_ON_X = "session s on x"
NO_RECORD = f"{S_ON_X} has no record"
T_OF_X = "the record of acquisition t of x by job 7"
CLOSED = {**OTHER, "closed_at": 103.0, "closed_how": "drained"}
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


def test_plan_has_qpus_of_each_type_together_and_every_way_to_hold() -> None:
    planned = plan_soak(500, 1)
    asked = [job.qpus.split(",") for job in planned]
    assert {QPUS[name] for names in asked for name in names} == CLIENTS.keys()
    pairs = {pair for names in asked for pair in permutations(names, 2)}
    assert pairs == {*permutations(QPUS, 2)}
    held = [names for names in asked if set(names) & set(HELD_QPUS)]
    assert len(asked) / 2 < len(held) < len(asked)
    assert {job.is_served for job in planned} == {True, False}
    assert any("--qpu-hold=step" in job.options and "srun" in job.script for job in planned)
    assert any("srun --qpu=" in job.script for job in planned)
    assert any(job.is_served and job.blow == SERVER_KILLED for job in planned)


def test_quick_plan_has_nothing_that_slurm_notices_late() -> None:
    assert {job.blow for job in plan_soak(500, 1, is_quick=True)} == {"", *JOB_BLOWS}


def test_what_must_not_be_is_a_problem() -> None:
    problems: tuple[tuple[dict[str, Any], str], ...] = (
        ({"sessions": [SESSION], "records": [S]}, f"{S_ON_X} is open, and no entry tells of it"),
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
    result = replace(GOOD, sessions=[SESSION, CLOSED], entries=[ENTRY], records=[T])
    assert result.problems() == []
    assert "records          1: 1 released" in result.lines()
    assert "sessions closed  1: 1 drained" in result.lines()
    assert "sessions open    1, until their max_ttl" in result.lines()


def test_open_session_is_told_by_an_entry_of_its_own() -> None:
    for change, left in (
        ({}, []),
        ({"state": "told to end"}, [SESSION]),
        ({"resource": "y"}, [SESSION]),
        ({"ends_at": 700}, [SESSION]),
        ({"ends_at": None}, []),
        ({"acquired_at": 101}, [SESSION]),
    ):
        assert untold([SESSION], [{**ENTRY, **change}]) == left, change
    assert untold([SESSION, OTHER], [ENTRY]) == [OTHER]


def test_no_session_takes_the_entry_that_another_one_needs() -> None:
    later = {**OTHER, "created_at": 101.5, "max_ttl": 598}
    long = {**OTHER, "id": "u", "created_at": 101.5, "max_ttl": 900}
    entries = [
        ENTRY,
        {**ENTRY, "acquired_at": 101},
        {**ENTRY, "acquired_at": 99, "ends_at": 1002},
    ]
    for each in (entries, entries[::-1]):
        assert untold([long, later, SESSION], each) == []


def test_session_and_record_that_have_no_other_are_named() -> None:
    problems: Sequence[tuple[Sequence[dict[str, Any]], Sequence[dict[str, Any]], str]] = (
        ([SESSION, OTHER], [T, S, UNHELD], ""),
        ([SESSION], [record_of("s", result="refused")], ""),
        ([SESSION], [], NO_RECORD),
        ([SESSION], [{**UNANSWERED, "resource": "y"}], NO_RECORD),
        ([SESSION], [{**UNANSWERED, "created": "1970-01-01T00:01:41Z"}], NO_RECORD),
        ([SESSION, OTHER], [UNANSWERED], "session t on x has no record"),
        ([SESSION], [S, AGAIN], f"{S_ON_X} has 2 records: of the acquisitions s, again"),
        (
            [SESSION],
            [S, UNHELD, UNHELD],
            "the record of acquisition f of FRESNEL by job 7 is there once more",
        ),
        ([SESSION], [S, T], f"{T_OF_X} names a session that the site has never opened"),
        ([SESSION], [S, {**T, "session": None}], f"{T_OF_X} names no session"),
        (
            [SESSION],
            [{**S, "resource": "y"}],
            f"{S_ON_X} is in the record of acquisition s of y by job 7",
        ),
    )
    for sessions, records, problem in problems:
        found = compare(sessions, records, []).problems
        assert found == ([problem] if problem else []), (sessions, records)


def test_what_is_undecided_is_counted() -> None:
    for records, entries, figures in (
        ([S, T], [], (2, 0, 0)),
        ([S], [ENTRY], (1, 1, 1)),
        ([S, UNANSWERED], [{**ENTRY, "ends_at": None}], (1, 2, 1)),
        ([S, {**UNANSWERED, "finished": None}], [], (1, 1, 1)),
    ):
        found = compare([SESSION, OTHER], records, entries)
        assert (found.recorded, found.unanswered, found.taken) == figures
        assert found.problems == []
        assert f"{figures[2]} are taken for acquisitions without an answer" in found.line
