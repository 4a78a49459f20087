# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi usage` sums up what usage logs hold, and says which lines it leaves out."""

import csv
import gzip
import io
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.unit.admin.conftest import Run

RECORD: dict[str, Any] = {
    "acquisition_id": "x",
    "job_id": 7,
    "array_job_id": None,
    "het_job_id": None,
    "uid": 1000,
    "user": "alice",
    "account": "physics",
    "resource": "ibm_a",
    "finished": "2026-01-31T12:00:00Z",
    "result": "released",
    "held_seconds": 60,
    "usage": 2.5,
}
OTHERS: list[dict[str, Any]] = [
    {**RECORD, "job_id": 8, "user": "bob", "uid": 1001, "finished": "2026-02-01T00:00:00Z"},
    {**RECORD, "job_id": 9, "array_job_id": 5, "resource": "FRESNEL", "account": None},
    {**RECORD, "job_id": 10, "het_job_id": 6, "result": "refused", "usage": 0, "held_seconds": 0},
    {**RECORD, "job_id": 11, "result": "unanswered", "usage": None, "held_seconds": None},
]


def write(path: Path, records: list[dict[str, Any]]) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in records))
    return str(path)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return write(tmp_path / "usage.jsonl", [RECORD, *OTHERS])


def test_sums_are_shown_by_user_and_qpu_with_their_total(run: Run, path: str) -> None:
    assert run("usage", path) == (
        0,
        [
            "USER   QPU      ACQUISITIONS  REFUSED  HELD_SECONDS  USAGE_SECONDS",
            "alice  FRESNEL             1        0            60            2.5",
            "alice  ibm_a               3        1            60            2.5",
            "bob    ibm_a               1        0            60            2.5",
            "total                      5        1           180            7.5",
        ],
    )
    _, lines = run("usage", path, "--job=7", "--by=day")
    assert [line.split() for line in lines][1:] == [["2026-01-31", "1", "0", "60", "2.5"]]


def test_filters_choose_records(run: Run, tmp_path: Path) -> None:
    paths = {
        record["job_id"]: write(tmp_path / f"{record['job_id']}.jsonl", [record])
        for record in (RECORD, *OTHERS)
    }
    every = set(paths)
    for options, jobs in {
        "": every,
        "--job=7": {7},
        "--job=7 --job=8": {7, 8},
        "--job=5": {9},
        "--job=6": {10},
        "--user=bob": {8},
        "--user=1001": {8},
        "--account=physics": {7, 8, 10, 11},
        "--qpu=FRESNEL": {9},
        "--qpu=ibm_a --user=alice": {7, 10, 11},
        "--since=2026-02-01": {8},
        "--until=2026-02-01": {7, 9, 10, 11},
        "--since=2026-01-31T12:00 --until=2026-01-31T12:00:01": {7, 9, 10, 11},
        "--since=2026-01-31T12:00:01Z --until=2026-02-01T00:00": set(),
        "--since=1h": set(),
        "--since=99999d": every,
    }.items():
        shown = {job_id: run("usage", path, *options.split())[1] for job_id, path in paths.items()}
        chosen = {job_id for job_id, lines in shown.items() if lines != ["nothing was used"]}
        assert chosen == jobs, options


def test_programs_get_json_and_csv(run: Run, path: str) -> None:
    [line] = run("usage", path, "--json", "--by=account", "--since=2026-01-01")[1]
    names = ("account", "acquisitions", "refused", "held_seconds", "usage_seconds")
    expected = [("-", 1, 0, 60, 2.5), ("physics", 4, 1, 120, 5.0)]
    assert orjson.loads(line) == [dict(zip(names, row, strict=True)) for row in expected]
    _, lines = run("usage", path, "--csv", "--by=account,day")
    table = list(csv.DictReader(io.StringIO("\n".join(lines))))
    assert [(row["account"], row["day"], row["acquisitions"]) for row in table] == [
        ("-", "2026-01-31", "1"),
        ("physics", "2026-01-31", "3"),
        ("physics", "2026-02-01", "1"),
    ]


def test_files_of_many_nodes_and_rotations_are_summed_and_this_nodes_by_default(
    run: Run, usage_path: Path, tmp_path: Path
) -> None:
    first = write(usage_path, [RECORD])
    second = tmp_path / "node2.jsonl-20260101.gz"
    second.write_bytes(gzip.compress(orjson.dumps(OTHERS[0])))
    for paths, acquisitions in (((), 1), ((first, str(second)), 2)):
        [line] = run("usage", *paths, "--json", "--by=qpu")[1]
        assert [each["acquisitions"] for each in orjson.loads(line)] == [acquisitions]


def test_hostile_values_and_what_is_no_record_do_no_harm(run: Run, tmp_path: Path) -> None:
    hostile = {**RECORD, "user": "a\x1b[31m\n", "uid": os.getuid(), "resource": ["x"]}
    hostile |= {"finished": 7, "held_seconds": "60", "usage": True}
    path = tmp_path / "usage.jsonl"
    lines = [b"cut o", b"[]", b"{}", b"1", b"\xff", b"", orjson.dumps(hostile)]
    path.write_bytes(b"\n".join([*lines, b'{"acquisition_id": 1}']))
    status, [_, *shown] = run("usage", str(path), "--by=user,qpu,day,account")
    assert (status, len(shown)) == (0, 4)
    assert all(line.isprintable() for line in shown)
    assert shown[-1] == "spank-qrmi: 6 lines are no records, and are left out"


def test_user_whose_name_slurm_did_not_tell(run: Run, tmp_path: Path) -> None:
    for uid, expected in ((0, "root"), (4_000_000_000, "4000000000"), ("x", "-")):
        path = write(tmp_path / "usage.jsonl", [{**RECORD, "user": None, "uid": uid}])
        assert run("usage", path, "--by=user")[1][1].split()[0] == expected, uid


def test_file_that_cannot_be_read_is_named(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl.gz"
    for content, reason in (
        (None, "No such file or directory"),
        (b"\x1f\x8b\x08", "it is cut off"),
        # What gzip says of it is Python's.
        (b"no", ""),
    ):
        if content is not None:
            path.write_bytes(content)
        status, [line] = run("usage", str(path))
        assert status == 1, content
        assert line.startswith(f"spank-qrmi: {path}: cannot be read: {reason}"), content


def test_arguments_that_are_none(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for argument, reason in (
        ("--by=qpu,shots", "'shots' is none of user, account, qpu, day"),
        ("--since=yesterday", "'yesterday' is no time: write 2026-11-30"),
        ("--job=x", "invalid int value"),
    ):
        with pytest.raises(SystemExit):
            pytest.fail(f"{argument} was taken: {run('usage', argument)}")
        assert reason in capsys.readouterr().err, argument
