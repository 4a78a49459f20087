# SPDX-License-Identifier: GPL-3.0-or-later
"""The soak's comparison of usage records with the site's sessions names each that is wrong."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from loopback.soak_records import compare, untold

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
S_ON_X = "session s on x"
T_OF_X = "the record of acquisition t of x by job 7"


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
        ([SESSION], [], f"{S_ON_X} has no record"),
        ([SESSION], [{**UNANSWERED, "resource": "y"}], f"{S_ON_X} has no record"),
        (
            [SESSION],
            [{**UNANSWERED, "created": "1970-01-01T00:01:41Z"}],
            f"{S_ON_X} has no record",
        ),
        ([SESSION, OTHER], [UNANSWERED], "session t on x has no record"),
        (
            [SESSION],
            [S, {**S, "acquisition_id": "again"}],
            f"{S_ON_X} has 2 records: of the acquisitions s, again",
        ),
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
