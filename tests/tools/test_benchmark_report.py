# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's report: figures as measured, goals judged honestly, nothing without a sample."""

import platform
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.goals import Goal, goals
from benchmarks.job_figures import JobFigures
from benchmarks.load import WITH_SESSION, WITHOUT_QPU, LoadFigures
from benchmarks.plot import draw
from benchmarks.qpu_jobs import CASES, FIRST, JobSamples, QpuFigures
from benchmarks.report import number, report, table, with_quartiles
from benchmarks.results import Results
from benchmarks.samples import Estimate
from benchmarks.testbed import EMPTY, NONE, OPTION, OURS, QRUN, VARIANTS

ORDINARY = JobFigures(10, 0, 0, 1000, 6000)
ACQUIRING = JobFigures(200, 210, 40, 1100, 6050)


def job_samples(*jobs: JobFigures) -> JobSamples:
    return JobSamples(list(jobs), [1.0 for _ in jobs])


def all_results() -> Results:
    load = LoadFigures([100.0, 300.0], 50, 64, {"COMPLETED": 200}, 1, 0)
    return Results(
        runs=2,
        machine={"Slurm": "22.05.8"},
        dlopen_us={EMPTY: [40, 42], OURS: [44, 46]},
        instructions={NONE: [10], EMPTY: [100], OURS: [110], OPTION: [125], QRUN: [130]},
        srun_ms={NONE: [20, 20], EMPTY: [100, 104], OURS: [101, 105]},
        sbatch_per_second={NONE: [90, 90], EMPTY: [80, 80], OURS: [80, 80]},
        jobs=QpuFigures(
            {variant: job_samples(ORDINARY, ORDINARY) for variant in VARIANTS},
            {(case, turn): job_samples(ACQUIRING) for case in CASES for turn in case.turns},
            [24000, 24200],
            [19000, 19200],
        ),
        load={WITHOUT_QPU: load, WITH_SESSION: load},
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3, "3"),
        (0.123, "0.12"),
        (12.34, "12.3"),
        (123.4, "123"),
        (92542, "92 542"),
        (-7.25, "-7.25"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


def test_quartiles() -> None:
    assert with_quartiles([1.0, 2.0, 3.0]) == "2 (1.50 to 2.50)"
    assert (with_quartiles([2.0, 2.0]), with_quartiles([])) == ("2", "")


def test_table() -> None:
    assert table(("a", "b"), [("c", "d")]) == "| a | b |\n| --- | ---: |\n| c | d |\n"


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        (Estimate(10, 9, 10), "met"),
        (Estimate(10, 9, 11), "met, within the noise"),
        (Estimate(11, 10, 12), "missed, within the noise"),
        (Estimate(12, 11, 13), "missed"),
    ],
)
def test_verdict(measured: Estimate, verdict: str) -> None:
    assert Goal("", "ms", 10, measured).verdict == verdict


def test_goals_are_judged_by_what_was_measured() -> None:
    verdicts = {goal.text: goal.verdict for goal in goals(all_results())}

    assert verdicts["`srun true`: ours / empty C plugin"] == "met, within the noise"
    assert verdicts["worker's peak"] == "met"
    assert verdicts["no delay, 1 Direct Access: more to script than without a plugin"] == "missed"
    assert verdicts["100 ms a request, 16 Runtime sessions: release"] == "met"


def test_jobs_that_failed_under_load_miss_the_goal() -> None:
    results = all_results()
    lost = LoadFigures([1.0, 2.0], 50, 64, {"COMPLETED": 198, "FAILED": 1}, 1, 1)
    results.load = {WITH_SESSION: lost}

    [failed] = [goal for goal in goals(results) if "failed" in goal.text]
    assert (failed.measured.value, failed.verdict) == (3, "missed")


def test_report_has_all_that_was_measured() -> None:
    text = report(all_results(), "report.svg")

    for line in (
        "| Slurm | 22.05.8 |",
        "| slurmstepd's instructions in loading and hooks | 10 | 100 | 110 | 1.10 |",
        "| `spank_ibm_qrun.so`, two options | 130 | 1.30 | 1.04 |",
        "| `srun true`, ms | 20 | 102 (101 to 103) | 103 (102 to 104) | 1.01 [0.97 to 1.05] |",
        "| 16 Runtime sessions | 100 ms | first job | 200 | 210 | 40 | 1 |",
        "| slurmstepd, 1 Runtime session, resident kB | 6 050 |",
        "| 1 Runtime session each | 4 | 64 | 0.20 | 0.30 | 1 | 0 |",
        "![time to script and release](report.svg)",
    ):
        assert f"{line}\n" in text


def test_report_of_a_part_has_only_that() -> None:
    text = report(Results(1, {}, srun_ms={NONE: [1.0], EMPTY: [1.0], OURS: [1.0]}), None)

    assert "`srun true`, ms" in text
    assert "sbatch, jobs a second" not in text
    for heading in ("## Jobs with QPUs", "## Under load", "!["):
        assert heading not in text


@pytest.mark.parametrize(("load", "is_told"), [(0.5, False), (1000.0, True)])
def test_report_tells_that_the_machine_was_busy(load: float, is_told: bool) -> None:
    text = report(Results(1, {}, [0.1, load]), None)

    assert f"| Load before each part | 0.1, {load} |\n" in text
    assert ("busy with other work" in text) == is_told


def test_picture_is_small_and_the_same_again(tmp_path: Path) -> None:
    jobs = all_results().jobs
    assert jobs is not None
    one, other = tmp_path / "one.svg", tmp_path / "other.svg"
    draw(jobs, one)
    draw(jobs, other)

    assert one.read_bytes() == other.read_bytes()
    assert one.stat().st_size < 60_000
    texts = "".join(ET.parse(one).getroot().itertext())
    assert "16 Runtime sessions, 100 ms a request, first job" in texts


def test_release_that_the_log_does_not_tell_is_left_out() -> None:
    unknown = JobFigures(1, None, 1, 1, 1)
    assert job_samples(unknown, ACQUIRING).release_ms == [210]


def test_each_case_has_a_first_job() -> None:
    assert all(FIRST in case.turns for case in CASES)


def test_machine_is_described_by_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_first_line", lambda *command: "slurm-wlm 22.05.8")
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-of-somebody")

    described = machine.description()
    assert described["Slurm"] == "22.05.8"
    assert described["System"].endswith(", Linux 6.1.0")
    assert all(described.values())
