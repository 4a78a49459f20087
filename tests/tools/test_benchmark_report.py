# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's report: figures as measured, goals judged honestly, nothing without a sample."""

import platform
from dataclasses import replace

import pytest

from benchmarks import machine
from benchmarks.goals import GOALS, Goal, Judgement, judge
from benchmarks.job_figures import JobFigures
from benchmarks.load import KINDS, LoadFigures
from benchmarks.monitor_rounds import OTHER, SAME, WITH_CATALOG, WITHOUT_CATALOG, MonitorFigures
from benchmarks.qpu_jobs import CASES, TURNS, JobSamples, MemoryFigures, QpuFigures
from benchmarks.report import report
from benchmarks.results import Results
from benchmarks.samples import Estimate
from benchmarks.testbed import BY_DEFAULT, EMPTY, NONE, OPTION, OURS, QRUN, VARIANTS

ORDINARY = JobFigures(10, 0, 1000, 6000)
ACQUIRING = JobFigures(119, 110, 1100, 6050)
ALL_WELL = LoadFigures([100.0, 300.0], 10, 64, {"COMPLETED": 200}, 1, 0)


def all_results() -> Results:
    return Results(
        runs=2,
        machine={"Slurm": "22.05.8"},
        dlopen_us={EMPTY: [40, 42], OURS: [44, 46]},
        instructions={NONE: [10], EMPTY: [100], OURS: [110], OPTION: [125], QRUN: [130]},
        srun_ms={NONE: [20, 20], EMPTY: [100, 104], OURS: [101, 105]},
        sbatch_per_second={NONE: [90, 90], EMPTY: [80, 80], OURS: [80, 80]},
        jobs=QpuFigures(
            {variant: JobSamples([ORDINARY, ORDINARY]) for variant in VARIANTS},
            {(case, turn): JobSamples([ACQUIRING]) for case in CASES for turn in TURNS},
            MemoryFigures([0], [24000, 24200], [7000, 7200], [37000]),
        ),
        load={kind: [ALL_WELL, ALL_WELL] for kind in KINDS},
        monitor=MonitorFigures(
            {SAME: [2, 2.2], OTHER: [2.5, 2.5]},
            {SAME: [2, 2], OTHER: [5, 5]},
            [60000],
            {WITHOUT_CATALOG: [4, 4], WITH_CATALOG: [4.5, 4.5]},
        ),
    )


def test_verdict() -> None:
    noise = "within the noise"
    for measured, at_most_10, at_least_10 in (
        (Estimate(9, 8, 9.5), "met", "missed"),
        (Estimate(10, 9, 10), "met", f"met, {noise}"),
        (Estimate(10, 10, 11), f"met, {noise}", "met"),
        (Estimate(9, 8, 11), f"met, {noise}", f"missed, {noise}"),
        (Estimate(11, 9, 12), f"missed, {noise}", f"met, {noise}"),
        (Estimate(12, 11, 13), "missed", "met"),
    ):
        for is_at_least, expected in ((False, at_most_10), (True, at_least_10)):
            goal = Goal("", 10, "ms", lambda _: None, is_at_least=is_at_least)
            assert Judgement(goal, measured).verdict == expected, measured


def test_goals_are_judged_by_what_was_measured() -> None:
    judgements = judge(all_results())
    assert [judgement.goal for judgement in judgements] == list(GOALS)
    verdicts = {judgement.goal.text: judgement.verdict for judgement in judgements}
    missed = {text for text, verdict in verdicts.items() if verdict == "missed"}
    assert missed == {
        "no delay, 16 Runtime sessions, first job: time to script",
        "no delay, 1 Direct Access, first job: more to script than without a plugin",
        "no delay, 1 Runtime session, first job: more to script than without a plugin",
    }
    assert judge(Results(1, {})) == []


def test_one_bad_run_under_load_or_of_the_monitor_misses_the_goal() -> None:
    results = all_results()
    lost = LoadFigures([1.0, 2.0], 50, 64, {"COMPLETED": 198, "FAILED": 1}, 1, 1)
    results.load = {BY_DEFAULT: [ALL_WELL, lost, ALL_WELL]}
    assert results.monitor is not None
    results.monitor = replace(results.monitor, commands={SAME: [2, 2, 3], OTHER: [5, 5, 5]})
    results.jobs = None
    missed = {each.goal.text.partition(": ")[2]: each for each in judge(results) if not each.is_met}
    assert {text: each.measured.value for text, each in missed.items()} == {
        "failed jobs and open sessions": 3,
        f"commands to slurmctld, {SAME}": 3,
    }


def test_report_has_all_that_was_measured() -> None:
    text = report(all_results(), "report.svg")
    for line in (
        "| `srun true`, ms | 20 | 102 (101 to 103) | 103 (102 to 104) | 1.01 [0.97 to 1.05] |",
        "| 100 ms a request, 16 Runtime sessions, next job: time to script"
        " | ≤ 160 ms | 119 ms | met | 4 908 ms |",
        "| 100 ms a request, 3 Runtime sessions, first job | 110 |  |  |",
        "| 1 Runtime session each, by default | 20 | 64 | 0.20 | 0.30 | 1 | 0 |",
        "| monitor, 1,000 QPUs: its memory at its peak | ≤ 100 MB | 60 MB | met |  |",
        "| monitor, 1,000 QPUs: sbatch: more with their catalog than without"
        " | ≤ 1 ms | 0.50 ms | met |  |",
        "| catalog of 1,000 QPUs | 4.50 |",
        "![time to script and release](report.svg)",
    ):
        assert f"{line}\n" in text


def test_report_tells_that_the_machine_was_busy() -> None:
    for load, is_told in ((0.5, False), (1000.0, True)):
        text = report(Results(1, {}, [0.1, load]), None)
        assert f"| Load before each part | 0.1, {load} |\n" in text
        assert ("busy with other work" in text) is is_told


def test_machine_is_described_by_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_first_line", lambda *command: "slurm-wlm 22.05.8")
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-of-somebody")
    described = machine.description()
    assert described["Slurm"] == "22.05.8"
    assert described["System"].endswith(", Linux 6.1.0")
    assert all(described.values())


def test_release_that_the_log_does_not_tell_is_left_out() -> None:
    unknown = JobFigures(1, None, 1, 1)
    assert JobSamples([unknown, ACQUIRING]).release_ms == [110]
