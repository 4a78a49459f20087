# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin in a fake slurmstepd: who asks, what is asked, and what becomes of an answer.

What is said of options holds for those of spank_ibm_qrun.so too.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest

from spank_qrmi.protocol import (
    MAX_PAYLOAD_BYTES,
    PREAMBLE,
    AnswerTag,
    Request,
    Verb,
    Verdict,
    encode_record,
)
from tests.unit.plugin_host import (
    BATCH_STEP,
    CANCELLED,
    CONFIG,
    EXTERN_STEP,
    FALLBACK,
    HOLD_FALLBACK,
    INTERACTIVE_STEP,
    LISTS,
    NOTHING_HELD,
    RUNNING,
    PluginHost,
    answer_of,
    fresh,
    told_to_user,
)

# What the job of the tests, number 7, gives to its steps.
OF_JOB = ("a,b,b,c", "one,two,again,three", "a,b,c", "one,two,three")
INSIDE = {"SLURM_QRMI_JOB_ID": "7", **dict(zip(LISTS, OF_JOB, strict=True))}
NO_TEXT = "holds a control character or bytes that are not UTF-8"
CONTINUE = [CONFIG, "--on-failure=continue"]
# Time runs so much faster: the 9 s that a worker has at least take 45 ms.
# The plugin gives a killed worker 2 s to end; on a busy machine that may take some milliseconds.
FAST = 10


def environment_of(variables: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in variables.items()]


def lists_of(values: Sequence[str]) -> dict[bytes, bytes]:
    """Return these values of the lists, or nothing."""
    return {name.encode(): each.encode() for name, each in zip(LISTS, values, strict=False)}


def test_request_is_what_slurm_and_the_user_said(host: PluginHost) -> None:
    arguments = (CONFIG, "--env:A_KEY=b=c", "--acquire-timeout=30")
    of_slurm = {"account": "physics", "partition": "quantum", "licenses": "qpu_a:2,other"}
    of_others = [b"PATH=/bin", "X=a_QRMI_Y"]
    of_job = {"SLURM_EXPORT_ENV": "NONE", "a_QRMI_X": "1", "QRMI_JOB_ID": "6", "ü_QRMI_Z": "x=y\nz"}
    assert host.request_of(
        options=["first, and longer", "a, ü"],
        arguments=arguments,
        environment=[*of_others, *environment_of(of_job)],
        restart_count=2,
        user_name="alice",
        restart_cnt=3,
        gid=1000,
        gids=["5000", "0"],
        **of_slurm,
    ) == Request(
        verb=Verb.ACQUIRE,
        job_id=7,
        restart_count=2,
        step_id=BATCH_STEP,
        uid=1000,
        timeout_seconds=30,
        qpu_option="a, ü",
        time_limit_minutes=60,
        start_time=1_700_000_000,
        user="alice",
        restarts=3,
        gids=(1000, 5000, 0),
        arguments=arguments,
        variables=tuple(of_job.items()),
        **of_slurm,  # type: ignore[arg-type]
    )


def test_long_many_and_foreign_values_arrive_unchanged_or_not_at_all(host: PluginHost) -> None:
    arguments = (CONFIG, *(f"--env:A{number}={number}" for number in range(1000)))
    longest = b"a_QRMI_L=" + b"x" * (MAX_PAYLOAD_BYTES - 9)
    environment = [longest, b"a_QRMI_B=" + bytes(range(1, 256)), b"a_QRMI_\xff=\xfe"]
    request = host.request_of(arguments=arguments, environment=environment)
    assert request.arguments == arguments
    variables = ["=".join(each).encode("utf-8", "surrogateescape") for each in request.variables]
    assert variables == environment
    # Too long a request is not made.
    failure = "cannot be asked: the job's QRMI variables are too long (256 KiB each, 8 MiB in all)"
    many = [b"a_QRMI_L%d=" % number + b"x" * 250_000 for number in range(34)]
    for environment in ([longest + b"x"], many):
        report = host.run(environment=environment)
        assert report.shown_to_user == [told_to_user(failure)], len(environment)
        assert (report.task_statuses, host.requests) == ([1], [request]), len(environment)


NAMES = ("account", "partition", "licenses", "user")
NO_ARRAY = {"array_job_id": None, "array_task_id": None}
NO_HET_JOB = {"het_job_id": None, "het_job_offset": None}
# A timeout that is none leaves the default.
SECONDS = {"1": 1, "86400": 86400, **dict.fromkeys(("86401", "0", "", "1s", "9" * 20), 120)}
TOLD_OF_THE_JOB: Sequence[tuple[dict[str, Any], dict[str, object]]] = [
    ({}, {**dict.fromkeys(NAMES, ""), "gids": (0,), **NO_ARRAY, **NO_HET_JOB}),
    (
        {"states": "silent"},
        {**dict.fromkeys((*NAMES, "time_limit_minutes", "start_time")), "gids": (0,)},
    ),
    ({"time_limit": 1}, {"time_limit_minutes": 1, "start_time": 1_700_000_000}),
    ({"missing": "gid", "gids": "5000"}, {**dict.fromkeys(NAMES, ""), "gids": (5000,)}),
    ({"missing": ["gid", "gids"]}, {**dict.fromkeys(NAMES, ""), "gids": ()}),
    # A step for the whole job has one node alone.
    ({"step_id": 0, "node_index": 1}, {"node_index": 1}),
    ({"step_id": BATCH_STEP, "node_index": 1}, {"node_index": 0}),
    ({"array_job_id": 5}, {"array_job_id": 5, "array_task_id": 0, **NO_HET_JOB}),
    ({"array_job_id": 5, "array_task_id": 3}, {"array_job_id": 5, "array_task_id": 3}),
    # NO_VAL: the record of all tasks that wait, of which a step is none.
    ({"array_job_id": 5, "array_task_id": 0xFFFFFFFE}, {**NO_ARRAY, **NO_HET_JOB}),
    ({"het_job_id": 6}, {"het_job_id": 6, "het_job_offset": 0, **NO_ARRAY}),
    ({"het_job_id": 6, "het_job_offset": 1}, {"het_job_id": 6, "het_job_offset": 1}),
    ({"arguments": [CONFIG, "--other=1"]}, {"timeout_seconds": 120}),
    *(
        ({"arguments": [CONFIG, f"--acquire-timeout={text}"]}, {"timeout_seconds": seconds})
        for text, seconds in SECONDS.items()
    ),
]


def test_worker_is_told_of_job_and_step_what_slurm_and_the_site_tell(host: PluginHost) -> None:
    for orders, expected in TOLD_OF_THE_JOB:
        with fresh(host, orders) as each:
            request = each.request_of(**orders)
            assert {name: getattr(request, name) for name in expected} == expected


def test_answer_is_taken_over(host: PluginHost) -> None:
    values = [
        ("QRMI_JOB_UID", "1"),
        ("a_ü", "a=b\nc\x01\t"),
        ("a_EMPTY", ""),
        ("a_F", "\udcff"),
        ("SLURM_JOB_QPU_RESOURCES", "a"),
        ("a_LONG", "x" * (256 * 1024)),
        ("a_" + "N" * 253, "longest name"),
        ("a_TOKEN", "secret"),
        *((f"a_{number}", "x" * (256 * 1024)) for number in range(30)),
    ]
    logs = [(level, f"of {level}") for level in ("debug", "info", "warning", "error")]
    answer = answer_of(variables=values, messages=["first", "second"], logs=logs)
    unknown = encode_record(AnswerTag.LOG, b"?of unknown")
    host.answer(answer[: len(PREAMBLE)] + unknown + answer[len(PREAMBLE) :])
    report = host.run(tasks=2, unsettable="a_TOKEN")
    expected = {name.encode(): value.encode("utf-8", "surrogateescape") for name, value in values}
    # Slurm has refused one.
    del expected[b"a_TOKEN"]
    assert report.variables == {**NOTHING_HELD, **expected}
    refusal = "cannot set a_TOKEN in the job: Generic error"
    assert report.logged("error") == ["of error", refusal]
    assert {"of info", "warning: of warning"} <= set(report.logged("info"))
    assert {"of debug", "of unknown"} <= set(report.logged("debug"))
    assert (report.shown_to_user, report.task_statuses) == (["first", "second"], [0, 0])


def test_verdict_fails_every_task_and_one_tells_why(host: PluginHost) -> None:
    host.answer(answer_of(verdict=Verdict.FAIL, messages=["the reason"]))
    report = host.run(tasks=3)
    assert (report.task_statuses, report.shown_to_user) == ([1, 1, 1], ["the reason"])
    # Unless the administrator lets jobs without QPUs go on.
    report = host.run(arguments=CONTINUE)
    assert (report.task_statuses, report.shown_to_user) == ([0], ["the reason"])


def test_what_is_or_may_be_held_is_released_at_exit(host: PluginHost) -> None:
    arguments = (CONFIG, "--release-timeout=5")
    assert host.request_of(arguments=arguments).verb is Verb.ACQUIRE
    host.answer_and_keep(answer_of(held=2))
    host.run(arguments=arguments)
    release = Request(Verb.RELEASE, 7, 0, BATCH_STEP, 1000, 5, arguments=arguments)
    assert host.requests[2:] == [release]
    # Nobody knows what a worker has acquired that gave no answer.
    host.play('echo >>"$folder/starts"')
    host.run()
    assert (host.folder / "starts").read_text() == "\n\n"


def test_stderr_that_nobody_reads_takes_one_error_of_a_task_and_one_of_the_step(
    host: PluginHost,
) -> None:
    told = [f"QPU {number}: may still be open" for number in range(8)]
    host.answer(answer_of(held=1, messages=told))
    report = host.run(error_seconds=5)
    assert (report.shown_to_user, report.logged("error")) == (told[:1], told[:1])
    rest = [f"spank_qrmi_c: {each}" for each in told[1:]]
    assert (report.texts("task-log-info"), report.texts("log-info")) == (rest, rest)
    report = host.run(error_seconds=0)
    assert (report.shown_to_user, report.logged("error")) == (told, told)
    # What the worker logs is told so too.
    host.answer(answer_of(logs=[("error", text) for text in "abc"]))
    report = host.run(error_seconds=1)
    assert (report.logged("error"), report.logged("info")) == (["a", "b"], ["c"])


@pytest.mark.parametrize(
    ("end", "failed", "asked", "ended"),
    [
        ("kill -KILL $$", 1, 3, "was ended by signal 9"),
        ("kill -KILL $$", 2, 3, "was ended by signal 9"),
        ("kill -SEGV $$", 1, 2, "was ended by signal 11"),
        ("exit 3", 1, 2, "ended with status 3"),
    ],
)
def test_only_a_release_whose_worker_is_killed_is_asked_for_once_more(
    host: PluginHost, end: str, failed: int, asked: int, ended: str
) -> None:
    """By Slurm, which takes a spawned worker for a task of a step that it ends."""
    (host.folder / "answer").write_bytes(answer_of(held=1))
    host.play(
        'echo >>"$folder/asked"; turn=$(wc -l <"$folder/asked")\n'
        f"[ $turn -gt 1 ] && [ $turn -le {1 + failed} ] && {end}\n"
        'cat "$folder/answer"'
    )
    report = host.run()
    assert len((host.folder / "asked").read_text()) == asked
    told = f"the QPU worker {ended} before it had answered; its release may not have happened"
    assert report.logged("error") == ([] if asked > 1 + failed else [told])
    assert report.task_statuses == [0]


def test_only_the_first_step_of_a_job_asks(host: PluginHost) -> None:
    steps: list[tuple[int, dict[str, Any], bool]] = [
        (BATCH_STEP, {"node_index": 0}, True),
        (INTERACTIVE_STEP, {}, True),
        (EXTERN_STEP, {}, False),
        (0, {}, True),
        # Inside the job, or inside its first component.
        (0, {"environment": b"SLURM_QRMI_JOB_ID=7"}, False),
        (0, {"environment": b"QRMI_JOB_ID=7"}, False),
        (0, {"environment": [b"QRMI_JOB_ID=6", b"SLURM_QRMI_JOB_ID=6"]}, True),
        (0, {"environment": b"SLURM_JOB_QPU_RESOURCES=a"}, True),
        (BATCH_STEP, {"environment": [b"QRMI_JOB_ID=7", b"SLURM_QRMI_JOB_ID=7"]}, True),
        (0, {"het_job_id": 6, "environment": b"SLURM_QRMI_JOB_ID=6"}, False),
        (0, {"het_job_id": 6, "environment": b"SLURM_QRMI_JOB_ID=5"}, True),
        # What Slurm does not tell.
        (BATCH_STEP, {"missing": "job_id"}, False),
        (BATCH_STEP, {"missing": "step_id"}, False),
        (BATCH_STEP, {"missing": "uid"}, False),
        (BATCH_STEP, {"missing": ["restart_count", "node_index", "environment"]}, True),
    ]
    for step, orders, asks in steps:
        with fresh(host, (hex(step), orders)) as each:
            each.note_starts()
            report = each.run(step_id=step, **orders)
            assert each.was_started is asks
            assert (report.task_statuses, bool(report.shown_to_user)) == ([int(asks)], asks)
            assert report.variables == (NOTHING_HELD if asks else {})


def test_step_sees_those_qpus_of_its_job_that_it_names(host: PluginHost) -> None:
    environment = [*environment_of(INSIDE), FALLBACK + b"=a,b,c,d"]
    seen: dict[str, Sequence[str]] = {
        "a,b,c,d": (),  # The job's own wish, of which it did not get all.
        "b": ("b,b", "two,again", "b", "two"),
        " c, a,,": ("a,c", "one,three", "a,c", "one,three"),
        "c,b,a": OF_JOB,
    }
    for step, (option, lists) in product((0, 5), seen.items()):
        with fresh(host, (step, option)) as each:
            report = each.run(step_id=step, options=option, environment=environment)
            assert report.variables == lists_of(lists)
            assert (report.task_statuses, report.shown_to_user) == ([0], [])


@pytest.mark.parametrize(
    ("option", "held", "lacking", "lists"),
    [
        ("b,e,f", "a,b,c", "e,f", ("b,b", "two,again", "b", "two")),
        (" e ,,c,a", "a,b,c", "e", ("a,c", "one,three", "a,c", "one,three")),
        ("ab", "a,b,c", "ab", ("", "", "", "")),
        ("a", "", "a", ("a", "one", "", "")),
        ("b", "a\nslurmd: forged\x1b[2J", "b", ("b,b", "two,again", "", "")),
        ("x" * 60000, "y" * 60000, "x" * 60000, ("", "", "", "")),
    ],
)
def test_step_acquires_what_its_job_lacks_beside_what_it_shares(
    host: PluginHost, option: str, held: str, lacking: str, lists: tuple[str, ...]
) -> None:
    host.answer_and_keep(answer_of(held=1))
    of_job = {**INSIDE, "SLURM_JOB_QPU_RESOURCES": held, "c_QRMI_X": "1", "e_QRMI_X": "2"}
    report = host.run(
        step_id=0, options=option, environment=[*environment_of(of_job), FALLBACK + b"=a,b,c,d"]
    )
    request, release = host.requests
    assert (request.qpu_option, release.verb) == (lacking, Verb.RELEASE)
    of_lacking = {"e_QRMI_X": "2"} if "e" in lacking else {}
    assert dict(request.variables) == {**dict(zip(LISTS, lists, strict=True)), **of_lacking}
    assert report.variables == {b"SLURM_QRMI_JOB_ID": b"7", **lists_of(lists)}
    assert (report.task_statuses, report.shown_to_user) == ([0], [])


def test_lists_of_another_job_are_no_ones_to_share(host: PluginHost) -> None:
    """A job that was submitted by one with QPUs has its variables."""
    host.answer_and_keep(answer_of())
    environment = environment_of({**INSIDE, "SLURM_QRMI_JOB_ID": "6"})
    report = host.run(step_id=0, options="b", environment=environment)
    [request] = host.requests
    assert (request.qpu_option, request.variables) == ("b", ())
    assert report.variables == NOTHING_HELD


def test_step_of_an_unknown_job_says_so(host: PluginHost) -> None:
    reason = "--qpu: slurmctld does not tell what kind of job this is; try again"
    host.note_starts()
    for state, choice, status in (("silent", "fail", 1), ("unknown", "continue", 0)):
        report = host.run(step_id=0, arguments=[CONFIG, f"--on-failure={choice}"], states=state)
        assert not host.was_started
        assert (report.shown_to_user, report.task_statuses) == ([reason], [status]), (state, choice)


def test_login_node_only_registers_the_option_and_other_jobs_are_left_alone(
    host: PluginHost,
) -> None:
    report = host.run(remote=0)
    assert report.texts("option") == [
        "--qpu=names 1 0 Comma separated list of QPU resources to use.",
        "--qpu-hold=job|step 1 0 Hold QPUs for the job (default) or for each step.",
    ]
    assert report.all("load") + report.all("set") + report.all("task-set") == []
    hooks = [f"slurm_spank_{name}" for name in ("init", "init_post_opt", "exit")]
    assert [text.split()[0] for text in report.texts("hook")] == hooks
    assert report.shown_to_user + report.logged("error") + report.logged("info") == []
    # One that Slurm refuses is logged.
    report = host.run(register_error=1, options=[])
    told = [f"cannot register --{name}: Generic error" for name in ("qpu", "qpu-hold")]
    assert report.logged("error") == told
    # An empty one asks for nothing, as does a hold without QPUs.
    report = host.run(options=[], environment=[FALLBACK + b"=", HOLD_FALLBACK + b"=nothing"])
    assert report.all("load") + report.all("set") + report.all("task-set") == []
    assert (report.task_statuses, report.shown_to_user) == ([0], [])


@pytest.mark.parametrize(
    ("option", "problem", "values"),
    [
        ("--qpu", None, ["a", " ,a", "ü" * 32768, ",".join("a" * 256)]),
        ("--qpu", "is longer than 65536 bytes", ["a" * 65537]),
        ("--qpu", "names more than 256 QPUs", [",".join("a" * 257)]),
        (
            "--qpu",
            "names no QPU: give a comma separated list such as --qpu=name1,name2",
            ["", " , ,"],
        ),
        ("--qpu", NO_TEXT, ["a\nb", "a\x7f"]),
        ("--qpu-hold", "must be job or step", ["", "Step", "job,step", "job\n", "x" * 70_000]),
        ("--q-backend", None, ["a", "ü" * 128]),
        ("--q-backend", "is longer than 256 bytes", ["a" * 257]),
        ("--q-backend", "names no backend: give one such as --q-backend=name", [""]),
        ("--q-backend", NO_TEXT, ["a\nb"]),
        ("--q-primitive", None, ["sampler", "estimator"]),
        ("--q-primitive", "must be sampler or estimator", ["", "Sampler", "\n\x1b[31m"]),
    ],
)
def test_option_that_can_never_work_is_refused_by_both_plugins(
    host: PluginHost, qrun_host: PluginHost, option: str, problem: str | None, values: Sequence[str]
) -> None:
    plugin = host if option.startswith("--qpu") else qrun_host
    place = "second_options" if option in {"--qpu-hold", "--q-primitive"} else "options"
    told = [] if problem is None else [f"{option} {problem}"]
    others = {"options": "a" if option == "--qpu-hold" else [], "arguments": CONTINUE}
    for value in values:
        with fresh(plugin, value) as each:
            report = each.run(**{**others, place: value}, remote=0)
            assert report.texts("callback")[-1] == ("-1" if told else "0")
            assert report.logged("error") == told
            each.answer_and_keep(answer_of())
            # Slurm would log a value that is refused here, and start the job without it.
            reports = [each.run(**{**others, place: value})]
            assert reports[0].texts("callback")[-1] == "0"
            if value:
                # From some steps Slurm hides it, all but its variable.
                variable = f"{each.plugin.stem}_{option[2:].replace('-', '_')}"
                hidden = f"SLURM_SPANK__SLURM_SPANK_OPTION_{variable}={value}"
                reports.append(each.run(**others, environment=hidden))
            for report in reports:
                assert (report.task_statuses, report.shown_to_user) == ([len(told)], told)
                assert report.logged("error") == []
            asked = [one.qpu_option + one.q_backend + one.q_primitive for one in each.requests]
            assert asked == ([] if told else [value] * 2)


def test_job_whose_steps_hold_its_qpus_has_none_itself_and_others_acquire_at_their_start(
    host: PluginHost,
) -> None:
    orders: dict[str, Any]
    for orders in (
        {"second_options": "step"},
        {"second_options": ["job", "step"]},
        {"environment": HOLD_FALLBACK + b"=step"},
    ):
        with fresh(host, orders) as each:
            each.note_starts()
            for step in (BATCH_STEP, INTERACTIVE_STEP):
                report = each.run(step_id=step, **orders)
                assert not each.was_started
                assert (report.variables, report.task_statuses) == (lists_of([""] * 4), [0])
                assert report.shown_to_user + report.logged("error") + report.all("load") == []
            each.answer_and_keep(answer_of(held=1))
            each.run(step_id=3, **orders)
            asked = [(request.verb, request.step_id) for request in each.requests]
            assert asked == [(Verb.ACQUIRE, 3), (Verb.RELEASE, 3)]
    for orders in (
        {"second_options": "job"},
        {"second_options": ["step", "job"]},
        {"environment": HOLD_FALLBACK + b"=job"},
        {"environment": HOLD_FALLBACK + b"="},
        {"second_options": "job", "environment": HOLD_FALLBACK + b"=step"},
    ):
        with fresh(host, orders) as each:
            assert each.request_of(**orders).verb is Verb.ACQUIRE


def test_hold_without_qpus_is_told_to_who_gave_it(
    host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(HOLD_FALLBACK.decode(), raising=False)
    told = ["warning: --qpu-hold has no effect without --qpu"]
    orders: dict[str, Any] = {"remote": 0, "second_options": "step"}
    assert host.run(options=[], **orders).logged("info") == told
    assert host.run(options="a", **orders).logged("info") == []
    # A step of a job with this option inherits it, and may have unset the other.
    monkeypatch.setenv(HOLD_FALLBACK.decode(), "step")
    assert host.run(options=[], **orders).logged("info") == []


def test_log_level_is_the_users_choice_else_the_sites_else_that_of_srun(host: PluginHost) -> None:
    host.answer(answer_of())
    of_srun = {"2": "error", "3": "info", "4": "debug", "5": "trace", "12": "trace", "x": "info"}
    levels: dict[tuple[str, ...], list[str]] = {
        (): ["RUST_LOG=info"],
        **{(f"SRUN_DEBUG={text}",): [f"RUST_LOG={level}"] for text, level in of_srun.items()},
        ("SRUN_DEBUG=4", "RUST_LOG=info"): ["RUST_LOG=debug"],
        ("SRUN_DEBUG=4", "RUST_LOG=warn"): [],
        ("SRUN_DEBUG=4", "RUST_LOG="): [],
    }
    found = {each: host.run(environment=each).texts("task-set") for each in levels}
    assert found == levels
    # What the user chose is not the site's to change.
    host.answer(answer_of(variables=[("RUST_LOG", "warn"), ("A", "1")]))
    arguments = [CONFIG, "--env:RUST_LOG=warn", "--env:A=1"]
    for of_user, expected in {None: b"warn", "info": b"warn", "off": None, "": None}.items():
        environment = [] if of_user is None else [f"RUST_LOG={of_user}"]
        report = host.run(arguments=arguments, environment=environment)
        assert report.variables.get(b"RUST_LOG") == expected, of_user
        assert (report.variables[b"A"], report.all("task-set")) == (b"1", []), of_user


def test_worker_that_is_stopped_with_the_tasks_of_a_job_goes_on(host: PluginHost) -> None:
    (host.folder / "answer").write_bytes(answer_of(held=1, variables=[("QRMI_JOB_UID", "1")]))
    host.play('kill -STOP $$\ncat "$folder/answer"')
    report = host.run(speed=FAST // 5)
    assert (report.variables[b"QRMI_JOB_UID"], report.task_statuses) == (b"1", [0])
    assert report.logged("error") == []


def test_job_that_is_over_asks_the_worker_to_undo_and_fails(host: PluginHost) -> None:
    (host.folder / "answer").write_bytes(answer_of(verdict=Verdict.FAIL, messages=["undone"]))
    noise = "while :; do echo noise >&2; done"
    # Suspended, still being configured, or a slurmctld that says nothing: that ends no job.
    not_yet = ("2", str(0x40000 + 1), "silent", "unknown")
    for by_worker, *states in (
        *((":", RUNNING, state) for state in (CANCELLED, "3", "6", str(0x8000 + 4))),
        (":", RUNNING, *not_yet, CANCELLED),
        (noise, RUNNING, CANCELLED),
    ):
        host.play(f'({by_worker}) &\ncat >"$folder/request"\nkill $!\ncat "$folder/answer"')
        arguments = CONTINUE if by_worker == noise else [CONFIG]
        report = host.run(states=states, arguments=arguments, speed=FAST)
        assert len(report.all("load")) == len(states), states
        assert (report.shown_to_user, report.task_statuses) == (["undone"], [1]), states
    # It does not wait for one that hangs.
    host.play("exec sleep 1000")
    report = host.run(states=[RUNNING, CANCELLED], speed=FAST)
    assert report.shown_to_user == [told_to_user("did not answer in time")]
    assert len(report.all("load")) == 2
