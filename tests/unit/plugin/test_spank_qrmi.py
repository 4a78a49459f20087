# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin in a fake slurmstepd: who asks, what is asked, and what becomes of an answer."""

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
    NOTHING_HELD,
    RUNNING,
    PluginHost,
    answer_of,
    fresh,
    told_to_user,
)

# What the job of the tests, number 7, gives to its steps.
INSIDE = [
    b"SLURM_QRMI_JOB_ID=7",
    b"SLURM_JOB_QPU_RESOURCES=a,b,c",
    b"SLURM_JOB_QPU_TYPES=one,two,three",
    b"QRMI_JOB_QPU_RESOURCES=a,b,b,c",
    b"QRMI_JOB_QPU_TYPES=one,two,again,three",
    FALLBACK + b"=a,b,c,d",
]
NO_QPU = "names no QPU: give a comma separated list such as --qpu=name1,name2"
NO_TEXT = "holds a control character or bytes that are not UTF-8"
# Time runs so much faster: the 9 s that a worker has at least take 45 ms.
# The plugin gives a killed worker 2 s to end; on a busy machine that may take some milliseconds.
FAST = 10


def test_request_is_what_slurm_and_the_user_said(host: PluginHost) -> None:
    host.answer_and_keep(answer_of())
    host.run(
        options="a, ü",
        arguments=[CONFIG, "--env:A_KEY=b=c", "--acquire-timeout=30"],
        environment=[
            "PATH=/bin",
            "SLURM_EXPORT_ENV=NONE",
            "a_QRMI_X=1",
            "QRMI_JOB_ID=6",
            "X=a_QRMI_Y",
            "ü_QRMI_Z=x=y\nz",
        ],
        restart_count=2,
        account="physics",
        partition="quantum",
        licenses="qpu_a:2,other",
        user_name="alice",
        restart_cnt=3,
        gid=1000,
        gids=["5000", "0"],
    )
    assert host.requests == [
        Request(
            verb=Verb.ACQUIRE,
            job_id=7,
            restart_count=2,
            step_id=BATCH_STEP,
            uid=1000,
            timeout_seconds=30,
            qpu_option="a, ü",
            time_limit_minutes=60,
            start_time=1_700_000_000,
            account="physics",
            partition="quantum",
            licenses="qpu_a:2,other",
            user="alice",
            restarts=3,
            gids=(1000, 5000, 0),
            arguments=(CONFIG, "--env:A_KEY=b=c", "--acquire-timeout=30"),
            variables=(
                ("SLURM_EXPORT_ENV", "NONE"),
                ("a_QRMI_X", "1"),
                ("QRMI_JOB_ID", "6"),
                ("ü_QRMI_Z", "x=y\nz"),
            ),
        )
    ]


def test_long_many_and_foreign_values_arrive_unchanged(host: PluginHost) -> None:
    host.answer_and_keep(answer_of())
    arguments = [CONFIG, *(f"--env:A{number}={number}" for number in range(1000))]
    longest = b"a_QRMI_L=" + b"x" * (MAX_PAYLOAD_BYTES - 9)
    every_byte = b"a_QRMI_B=" + bytes(range(1, 256))
    report = host.run(arguments=arguments, environment=[longest, every_byte, b"a_QRMI_\xff=\xfe"])
    [request] = host.requests
    assert request.arguments == tuple(arguments)
    variables = [
        tuple(part.encode("utf-8", "surrogateescape") for part in each)
        for each in request.variables
    ]
    expected = [longest, every_byte, b"a_QRMI_\xff=\xfe"]
    assert [b"=".join(each) for each in variables] == expected
    assert report.task_statuses == [0]


@pytest.mark.parametrize(
    "environment",
    [
        [b"a_QRMI_L=" + b"x" * (MAX_PAYLOAD_BYTES - 8)],
        [b"a_QRMI_L%d=" % number + b"x" * 250_000 for number in range(34)],
    ],
)
def test_too_long_a_request_is_not_made(host: PluginHost, environment: list[bytes]) -> None:
    host.answer_and_keep(answer_of())
    report = host.run(environment=environment)
    failure = "cannot be asked: the job's QRMI variables are too long (256 KiB each, 8 MiB in all)"
    assert report.shown_to_user == [told_to_user(failure)]
    assert (report.task_statuses, host.requests) == ([1], [])


@pytest.mark.parametrize(
    ("orders", "limit", "start"),
    [
        ({"states": "silent"}, None, None),
        ({"states": "unknown"}, None, None),
        ({"time_limit": 0xFFFFFFFF}, None, 1_700_000_000),
        ({"time_limit": 0xFFFFFFFE}, None, 1_700_000_000),
        ({"time_limit": 1}, 1, 1_700_000_000),
    ],
)
def test_time_limit_comes_from_slurmctld_if_it_answers(
    host: PluginHost, orders: dict[str, Any], limit: int | None, start: int | None
) -> None:
    host.answer_and_keep(answer_of())
    report = host.run(**orders)
    [request] = host.requests
    assert (request.time_limit_minutes, request.start_time) == (limit, start)
    assert report.task_statuses == [0]


@pytest.mark.parametrize(
    ("orders", "told"),
    [
        ({}, (None, None, None, None)),
        ({"array_job_id": 5}, (5, 0, None, None)),
        ({"array_job_id": 5, "array_task_id": 3}, (5, 3, None, None)),
        # NO_VAL: the record of all tasks that wait, of which a step is none.
        ({"array_job_id": 5, "array_task_id": 0xFFFFFFFE}, (None, None, None, None)),
        ({"het_job_id": 6}, (None, None, 6, 0)),
        ({"het_job_id": 6, "het_job_offset": 1}, (None, None, 6, 1)),
    ],
)
def test_what_a_job_is_a_part_of_is_told(
    host: PluginHost, orders: dict[str, int], told: tuple[int | None, ...]
) -> None:
    host.answer_and_keep(answer_of())
    host.run(**orders)  # type: ignore[arg-type]
    [request] = host.requests
    assert told == (
        *(request.array_job_id, request.array_task_id),
        *(request.het_job_id, request.het_job_offset),
    )


def test_what_slurm_does_not_tell_of_a_job_is_left_out(host: PluginHost) -> None:
    for orders, told, gids in (
        ({}, "", (0,)),
        ({"states": "silent"}, None, (0,)),
        ({"missing": "gid", "gids": "5000"}, "", (5000,)),
        ({"missing": ["gid", "gids"]}, "", ()),
    ):
        with fresh(host, orders) as one:
            one.answer_and_keep(answer_of())
            one.run(**orders)  # type: ignore[arg-type]
            [request] = one.requests
            assert (request.account, request.partition, request.licenses) == (told,) * 3
            assert request.user == told
            assert request.gids == gids


def test_timeout_that_is_none_leaves_the_default(host: PluginHost) -> None:
    for argument, expected in {
        "--acquire-timeout=1": 1,
        "--acquire-timeout=86400": 86400,
        "--acquire-timeout=86401": 120,
        "--acquire-timeout=0": 120,
        "--acquire-timeout=": 120,
        "--acquire-timeout=1s": 120,
        "--acquire-timeout=99999999999999999999": 120,
        "--other=1": 120,
    }.items():
        with fresh(host, argument) as each:
            each.answer_and_keep(answer_of())
            each.run(arguments=[CONFIG, argument])
            assert each.requests[0].timeout_seconds == expected


def test_answer_is_taken_over(host: PluginHost) -> None:
    values = [
        ("QRMI_JOB_UID", "1"),
        ("a_ü", "a=b\nc\x01\t"),
        ("a_EMPTY", ""),
        ("a_F", "\udcff"),
        ("SLURM_JOB_QPU_RESOURCES", "a"),
        ("a_LONG", "x" * (256 * 1024)),
        ("a_" + "N" * 253, "longest name"),
    ]
    logs = [(level, f"of {level}") for level in ("debug", "info", "warning", "error")]
    answer = answer_of(variables=values, messages=["first", "second"], logs=logs)
    unknown = encode_record(AnswerTag.LOG, b"?of unknown")
    host.answer(answer[: len(PREAMBLE)] + unknown + answer[len(PREAMBLE) :])
    report = host.run(tasks=2)
    expected = {name.encode(): value.encode("utf-8", "surrogateescape") for name, value in values}
    assert report.variables == {**NOTHING_HELD, **expected}
    for level in ("error", "info", "debug"):
        assert f"of {level}" in report.logged(level)
    assert "warning: of warning" in report.logged("info")
    assert "of unknown" in report.logged("debug")
    assert report.shown_to_user == ["first", "second"]
    assert report.task_statuses == [0, 0]


def test_verdict_fails_every_task_and_one_tells_why(host: PluginHost) -> None:
    host.answer(answer_of(verdict=Verdict.FAIL, messages=["the reason"]))
    report = host.run(tasks=3)
    assert (report.task_statuses, report.shown_to_user) == ([1, 1, 1], ["the reason"])


def test_job_without_a_qpu_goes_on_if_the_administrator_says_so(host: PluginHost) -> None:
    host.answer(answer_of(verdict=Verdict.FAIL, messages=["the reason"]))
    report = host.run(arguments=[CONFIG, "--on-failure=continue"])
    assert (report.task_statuses, report.shown_to_user) == ([0], ["the reason"])


def test_longest_answer_is_taken_over(host: PluginHost) -> None:
    values = [(f"a_{number}", "x" * (256 * 1024)) for number in range(31)]
    host.answer(answer_of(variables=values))
    report = host.run()
    assert (len(report.variables), report.task_statuses) == (31 + len(NOTHING_HELD), [0])


def test_variable_that_slurm_refuses_is_logged(host: PluginHost) -> None:
    host.answer(answer_of(variables=[("a_A", "1"), ("a_TOKEN", "secret"), ("a_C", "3")]))
    report = host.run(unsettable="a_TOKEN")
    assert report.logged("error") == ["cannot set a_TOKEN in the job: Generic error"]
    assert report.variables == {**NOTHING_HELD, b"a_A": b"1", b"a_C": b"3"}


@pytest.mark.parametrize(("held", "verbs"), [(0, ["acquire"]), (2, ["acquire", "release"])])
def test_what_is_held_is_released_at_exit(host: PluginHost, held: int, verbs: list[str]) -> None:
    host.answer_and_keep(answer_of(held=held))
    host.run(arguments=[CONFIG, "--release-timeout=5"])
    assert [request.verb.value for request in host.requests] == verbs
    expected = Request(
        Verb.RELEASE, 7, 0, BATCH_STEP, 1000, 5, arguments=(CONFIG, "--release-timeout=5")
    )
    assert host.requests[1:] == [expected] * (held // 2)


def test_failed_release_is_logged(host: PluginHost) -> None:
    host.answer(answer_of(held=1, messages=["QPU a: may still be open"]))
    assert host.run().logged("error") == ["QPU a: may still be open"]


def test_stderr_that_nobody_reads_takes_one_error_of_a_task_and_one_of_the_step(
    host: PluginHost,
) -> None:
    told = [f"QPU {number}: may still be open" for number in range(8)]
    host.answer(answer_of(held=1, messages=told))
    report = host.run(error_seconds=5)
    assert (report.shown_to_user, report.logged("error")) == (told[:1], told[:1])
    rest = [f"spank_qrmi_c: {each}" for each in told[1:]]
    assert (report.texts("task-log-info"), report.texts("log-info")) == (rest, rest)
    assert host.run(error_seconds=0).shown_to_user == told


def test_workers_errors_wait_no_longer_for_who_reads_them(host: PluginHost) -> None:
    host.answer(answer_of(logs=[("error", text) for text in "abc"]))
    report = host.run(error_seconds=1)
    assert (report.logged("error"), report.logged("info")) == (["a", "b"], ["c"])


def test_release_without_answer_is_logged(host: PluginHost) -> None:
    (host.folder / "answer").write_bytes(answer_of(held=1))
    host.play('[ -e "$folder/asked" ] && exit 3\n>"$folder/asked"; cat "$folder/answer"')
    report = host.run()
    failure = "ended with status 3 before it had answered"
    assert report.logged("error") == [
        f"the QPU worker {failure}; its release may not have happened"
    ]
    assert report.task_statuses == [0]


@pytest.mark.parametrize(
    ("signal", "killed", "asked"), [("KILL", 1, 3), ("KILL", 2, 3), ("SEGV", 1, 2)]
)
def test_release_whose_worker_is_killed_is_asked_for_once_more(
    host: PluginHost, signal: str, killed: int, asked: int
) -> None:
    """By Slurm, which takes a spawned worker for a task of a step that it ends."""
    (host.folder / "answer").write_bytes(answer_of(held=1))
    host.play(
        'echo >>"$folder/asked"; turn=$(wc -l <"$folder/asked")\n'
        f"[ $turn -gt 1 ] && [ $turn -le {1 + killed} ] && kill -{signal} $$\n"
        'cat "$folder/answer"'
    )
    report = host.run()
    assert len((host.folder / "asked").read_text()) == asked
    is_released = asked > 1 + killed
    number = {"KILL": 9, "SEGV": 11}[signal]
    failure = f"was ended by signal {number} before it had answered"
    told = f"the QPU worker {failure}; its release may not have happened"
    assert report.logged("error") == ([] if is_released else [told])


def test_acquisition_without_answer_is_released_at_exit(host: PluginHost) -> None:
    host.play('echo >>"$folder/starts"')
    host.run()
    assert (host.folder / "starts").read_text() == "\n\n"


@pytest.mark.parametrize(
    "steps",
    [
        [
            (BATCH_STEP, {"node_index": 0}, True),
            (INTERACTIVE_STEP, {}, True),
            (EXTERN_STEP, {}, False),
            (0xFFFFFFFD, {}, False),
            (0, {}, True),
            (5, {}, True),
        ],
        [
            (0, {"environment": b"SLURM_QRMI_JOB_ID=7"}, False),
            (0, {"environment": b"QRMI_JOB_ID=7"}, False),
            (0, {"environment": [b"QRMI_JOB_ID=6", b"SLURM_QRMI_JOB_ID=6"]}, True),
            (0, {"environment": b"SLURM_JOB_QPU_RESOURCES=a"}, True),
            (BATCH_STEP, {"environment": [b"QRMI_JOB_ID=7", b"SLURM_QRMI_JOB_ID=7"]}, True),
        ],
        [
            (0, {"het_job_id": 6, "environment": b"SLURM_QRMI_JOB_ID=6"}, False),
            (0, {"het_job_id": 6, "environment": b"SLURM_QRMI_JOB_ID=5"}, True),
        ],
        [
            (BATCH_STEP, {"missing": "job_id"}, False),
            (BATCH_STEP, {"missing": "step_id"}, False),
            (BATCH_STEP, {"missing": "uid"}, False),
            (BATCH_STEP, {"missing": ["restart_count", "node_index", "environment"]}, True),
        ],
        [(BATCH_STEP, {"options": []}, False), (BATCH_STEP, {"remote": 0}, False)],
    ],
    ids=["kind", "inside the job", "inside its first component", "unknown", "nothing to ask"],
)
def test_only_the_first_step_of_a_job_asks(
    host: PluginHost, steps: Sequence[tuple[int, dict[str, Any], bool]]
) -> None:
    for step, orders, asks in steps:
        with fresh(host, (hex(step), orders)) as each:
            each.play('echo >>"$folder/started"; exit 1')
            report = each.run(step_id=step, **orders)
            assert (each.folder / "started").exists() is asks
            assert (report.task_statuses, bool(report.shown_to_user)) == ([int(asks)], asks)
            assert report.variables == (NOTHING_HELD if asks else {})


@pytest.mark.parametrize(
    ("step", "told", "expected"),
    [(0, 0, 0), (0, 1, 1), (BATCH_STEP, 1, 0), (INTERACTIVE_STEP, 1, 0)],
)
def test_worker_is_told_which_of_the_nodes_of_a_step_asks(
    host: PluginHost, step: int, told: int, expected: int
) -> None:
    host.answer_and_keep(answer_of(messages=["not here"]))
    report = host.run(step_id=step, node_index=told, tasks=2)
    assert [request.node_index for request in host.requests] == [expected]
    assert (report.task_statuses, report.shown_to_user) == ([0, 0], ["not here"])


@pytest.mark.parametrize(
    ("option", "lists"),
    [
        ("a,b,c,d", ()),  # The job's own wish, of which it did not get all.
        ("b", ("b,b", "two,again", "b", "two")),
        (" c, a,,", ("a,c", "one,three", "a,c", "one,three")),
        ("c,b,a", ("a,b,b,c", "one,two,again,three", "a,b,c", "one,two,three")),
    ],
)
def test_step_sees_those_qpus_of_its_job_that_it_names(
    host: PluginHost, option: str, lists: tuple[str, ...]
) -> None:
    """One whose type has two names stands twice in the lists that newer clients read."""
    names = (
        *(b"QRMI_JOB_QPU_RESOURCES", b"QRMI_JOB_QPU_TYPES"),
        *(b"SLURM_JOB_QPU_RESOURCES", b"SLURM_JOB_QPU_TYPES"),
    )
    variables = dict(zip(names, map(str.encode, lists), strict=False))
    for step in (0, 5):
        with fresh(host, step) as each:
            report = each.run(step_id=step, options=option, environment=INSIDE)
            assert report.variables == variables
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
    of_job = [INSIDE[0], f"SLURM_JOB_QPU_RESOURCES={held}".encode(), *INSIDE[2:]]
    report = host.run(
        step_id=0, options=option, environment=[*of_job, b"c_QRMI_X=1", b"e_QRMI_X=2"]
    )
    names = (
        *("QRMI_JOB_QPU_RESOURCES", "QRMI_JOB_QPU_TYPES"),
        *("SLURM_JOB_QPU_RESOURCES", "SLURM_JOB_QPU_TYPES"),
    )
    expected = dict(zip(names, lists, strict=True))
    request, release = host.requests
    assert (request.qpu_option, release.verb) == (lacking, Verb.RELEASE)
    of_lacking = {"e_QRMI_X": "2"} if "e" in lacking else {}
    assert dict(request.variables) == {**expected, **of_lacking}
    assert report.variables == {
        b"SLURM_QRMI_JOB_ID": b"7",
        **{name.encode(): value.encode() for name, value in expected.items()},
    }
    assert (report.task_statuses, report.shown_to_user) == ([0], [])


def test_lists_of_another_job_are_no_ones_to_share(host: PluginHost) -> None:
    """A job that was submitted by one with QPUs has its variables."""
    host.answer_and_keep(answer_of())
    report = host.run(step_id=0, options="b", environment=[b"SLURM_QRMI_JOB_ID=6", *INSIDE[1:5]])
    [request] = host.requests
    assert (request.qpu_option, request.variables) == ("b", ())
    assert report.variables == NOTHING_HELD


@pytest.mark.parametrize("state", ["silent", "unknown"])
def test_step_of_an_unknown_job_says_so(host: PluginHost, state: str) -> None:
    reason = "--qpu: slurmctld does not tell what kind of job this is; try again"
    for choice, status in (("fail", 1), ("continue", 0)):
        with fresh(host, choice) as each:
            each.play('echo >>"$folder/started"; exit 1')
            arguments = [CONFIG, f"--on-failure={choice}"]
            report = each.run(step_id=0, arguments=arguments, states=state)
            assert not (each.folder / "started").exists()
            assert (report.shown_to_user, report.task_statuses) == ([reason], [status])


def test_login_node_only_registers_the_option(host: PluginHost) -> None:
    report = host.run(remote=0)
    assert report.texts("option") == [
        "--qpu=names 1 0 Comma separated list of QPU resources to use.",
        "--qpu-hold=job|step 1 0 Hold QPUs for the job (default) or for each step.",
    ]
    assert report.all("load") + report.all("set") + report.all("task-set") == []
    assert [text.split()[0] for text in report.texts("hook")] == [
        "slurm_spank_init",
        "slurm_spank_init_post_opt",
        "slurm_spank_exit",
    ]
    assert report.shown_to_user + report.logged("error") + report.logged("info") == []


def test_option_that_cannot_be_registered_is_logged(host: PluginHost) -> None:
    report = host.run(register_error=1, options=[])
    assert report.logged("error") == [
        f"cannot register --{name}: Generic error" for name in ("qpu", "qpu-hold")
    ]


@pytest.mark.parametrize(
    ("problem", "options"),
    [
        (None, ["a", " ,a", "ü" * 32768, ",".join("a" * 256)]),
        ("is longer than 65536 bytes", ["a" * 65537]),
        ("names more than 256 QPUs", [",".join("a" * 257)]),
        (NO_QPU, ["", " , ,"]),
        (NO_TEXT, ["a\nb", "a\x7f"]),
    ],
)
def test_option_that_can_never_work_is_refused(
    host: PluginHost, problem: str | None, options: Sequence[str]
) -> None:
    told = [] if problem is None else [f"--qpu {problem}"]
    for option in options:
        with fresh(host, option) as each:
            report = each.run(options=option, remote=0)
            assert report.texts("callback") == ["0" if problem is None else "-1"]
            assert report.logged("error") == told
            # Slurm would log a value that is refused here, and start the job without it.
            each.answer_and_keep(answer_of())
            report = each.run(options=option, arguments=[CONFIG, "--on-failure=continue"])
            assert (report.texts("callback"), report.logged("error")) == (["0"], [])
            assert (report.task_statuses, report.shown_to_user) == ([len(told)], told)
            assert len(each.requests) == 1 - len(told)


def test_last_option_counts(host: PluginHost) -> None:
    host.answer_and_keep(answer_of())
    host.run(options=["first", "second, and longer", "third"])
    assert [request.qpu_option for request in host.requests] == ["third"]


def test_option_that_slurm_hides_is_found_in_its_variable(host: PluginHost) -> None:
    for value, expected, told in (
        (b"b,c", ["b,c"], []),
        (b"", [], []),
        (b"b\nc", [], [f"--qpu {NO_TEXT}"]),
        (b"b" * 65537, [], ["--qpu is longer than 65536 bytes"]),
    ):
        with fresh(host, value) as each:
            each.answer_and_keep(answer_of())
            report = each.run(options=[], environment=FALLBACK + b"=" + value)
            assert [request.qpu_option for request in each.requests] == expected
            assert (report.task_statuses, report.shown_to_user) == ([len(told)], told)


LISTS_ALONE = {name: text for name, text in NOTHING_HELD.items() if b"_QPU_" in name}
HELD_BY_STEPS: list[dict[str, Any]] = [
    {"second_options": "step"},
    {"second_options": ["job", "step"]},
    {"environment": HOLD_FALLBACK + b"=step"},
]


@pytest.mark.parametrize("orders", HELD_BY_STEPS)
def test_job_whose_steps_hold_its_qpus_has_none_itself(
    host: PluginHost, orders: dict[str, Any]
) -> None:
    for step in (BATCH_STEP, INTERACTIVE_STEP):
        with fresh(host, step) as each:
            each.play('echo >>"$folder/started"; exit 1')
            report = each.run(step_id=step, **orders)
            assert not (each.folder / "started").exists()
            assert (report.variables, report.task_statuses) == (LISTS_ALONE, [0])
            assert report.shown_to_user + report.logged("error") + report.all("load") == []


@pytest.mark.parametrize("orders", HELD_BY_STEPS)
def test_each_step_of_such_a_job_acquires(host: PluginHost, orders: dict[str, Any]) -> None:
    host.answer_and_keep(answer_of(held=1))
    host.run(step_id=3, **orders)
    assert [(request.verb, request.step_id) for request in host.requests] == [
        *((Verb.ACQUIRE, 3), (Verb.RELEASE, 3)),
    ]


@pytest.mark.parametrize(
    "orders",
    [
        {"second_options": "job"},
        {"second_options": ["step", "job"]},
        {"environment": HOLD_FALLBACK + b"=job"},
        {"environment": HOLD_FALLBACK + b"="},
        {"second_options": "job", "environment": HOLD_FALLBACK + b"=step"},
    ],
)
def test_other_jobs_acquire_at_their_start(host: PluginHost, orders: dict[str, Any]) -> None:
    host.answer_and_keep(answer_of())
    host.run(**orders)
    assert [request.verb for request in host.requests] == [Verb.ACQUIRE]


@pytest.mark.parametrize("choice", ["", "steps", "Step", "job,step", "job\n", "x" * 70_000])
def test_hold_that_is_none_is_refused(host: PluginHost, choice: str) -> None:
    told = ["--qpu-hold must be job or step"]
    report = host.run(options="a", second_options=choice, remote=0)
    assert (report.texts("callback"), report.logged("error")) == (["0", "-1"], told)
    # Slurm would log a value that is refused here, and start the job without it.
    report = host.run(second_options=choice)
    assert (report.task_statuses, report.shown_to_user) == ([1], told)


def test_bad_hold_in_its_variable_fails_a_job_with_qpus_alone(host: PluginHost) -> None:
    for options, told in (("a", ["--qpu-hold must be job or step"]), ([], [])):
        report = host.run(options=options, environment=HOLD_FALLBACK + b"=steps")
        assert (report.task_statuses, report.shown_to_user) == ([len(told)], told)


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


def test_log_level_of_the_task(host: PluginHost) -> None:
    levels: dict[tuple[str, ...], list[str]] = {
        (): ["RUST_LOG=info"],
        ("SRUN_DEBUG=2",): ["RUST_LOG=error"],
        ("SRUN_DEBUG=3",): ["RUST_LOG=info"],
        ("SRUN_DEBUG=4",): ["RUST_LOG=debug"],
        ("SRUN_DEBUG=5",): ["RUST_LOG=trace"],
        ("SRUN_DEBUG=12",): ["RUST_LOG=trace"],
        ("SRUN_DEBUG=x",): ["RUST_LOG=info"],
        ("SRUN_DEBUG=4", "RUST_LOG=info"): ["RUST_LOG=debug"],
        ("SRUN_DEBUG=4", "RUST_LOG=warn"): [],
        ("SRUN_DEBUG=4", "RUST_LOG="): [],
    }
    for environment, expected in levels.items():
        with fresh(host, environment) as each:
            each.answer(answer_of())
            report = each.run(environment=environment)
            assert report.texts("task-set") == expected


@pytest.mark.parametrize(
    ("of_user", "expected"), [([], b"warn"), (["info"], b"warn"), (["off"], None), ([""], None)]
)
def test_log_level_that_the_user_chose_is_not_the_sites_to_change(
    host: PluginHost, of_user: list[str], expected: bytes | None
) -> None:
    host.answer(answer_of(variables=[("RUST_LOG", "warn"), ("A", "1")]))
    report = host.run(
        arguments=[CONFIG, "--env:RUST_LOG=warn", "--env:A=1"],
        environment=[f"RUST_LOG={level}" for level in of_user],
    )
    assert report.variables.get(b"RUST_LOG") == expected
    assert report.variables[b"A"] == b"1"
    assert report.all("task-set") == []


def test_job_without_the_option_is_left_alone(host: PluginHost) -> None:
    report = host.run(options=[])
    assert report.all("load") + report.all("set") + report.all("task-set") == []
    assert (report.task_statuses, report.shown_to_user) == ([0], [])


def test_worker_that_is_stopped_with_the_tasks_of_a_job_goes_on(host: PluginHost) -> None:
    (host.folder / "answer").write_bytes(answer_of(held=1, variables=[("QRMI_JOB_UID", "1")]))
    host.play('kill -STOP $$\ncat "$folder/answer"')
    report = host.run(speed=FAST // 5)
    assert (report.variables[b"QRMI_JOB_UID"], report.task_statuses) == (b"1", [0])
    assert report.logged("error") == []


@pytest.mark.parametrize(
    "jobs",
    [
        [[RUNNING, CANCELLED], [RUNNING, "3"], [RUNNING, "6"], [RUNNING, str(0x8000 + 4)]],
        # Suspended, still being configured, or a slurmctld that says nothing: that ends no job.
        [[RUNNING, "2", str(0x40000 + 1), "silent", "unknown", CANCELLED]],
    ],
)
def test_job_that_is_over_asks_the_worker_to_undo_and_fails(
    host: PluginHost, jobs: Sequence[Sequence[str]]
) -> None:
    for states, more in product(jobs, ([], ["--on-failure=continue"])):
        with fresh(host, (states, more)) as each:
            answer = answer_of(verdict=Verdict.FAIL, messages=["undone"])
            (each.folder / "answer").write_bytes(answer)
            each.play('cat >"$folder/request"\ncat "$folder/answer"')
            report = each.run(states=states, arguments=[CONFIG, *more], speed=FAST)
            assert len(report.all("load")) == len(states)
            assert (report.shown_to_user, report.task_statuses) == (["undone"], [1])


def test_worker_that_never_stops_talking_is_asked_to_undo_too(host: PluginHost) -> None:
    (host.folder / "answer").write_bytes(answer_of(verdict=Verdict.FAIL, messages=["undone"]))
    host.play(
        "(while :; do echo noise >&2; done) & noise=$!\n"
        'cat >"$folder/request"\nkill $noise\ncat "$folder/answer"'
    )
    report = host.run(states=[RUNNING, CANCELLED], speed=FAST)
    assert (report.shown_to_user, report.task_statuses) == (["undone"], [1])


def test_job_that_is_over_does_not_wait_for_a_worker_that_hangs(host: PluginHost) -> None:
    host.play("exec sleep 1000")
    report = host.run(states=[RUNNING, CANCELLED], speed=FAST)
    assert report.shown_to_user == [told_to_user("did not answer in time")]
    assert len(report.all("load")) == 2
