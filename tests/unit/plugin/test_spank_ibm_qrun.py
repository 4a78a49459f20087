# SPDX-License-Identifier: GPL-3.0-or-later
"""spank_ibm_qrun.so in a fake slurmstepd: options, variables of the tasks, clean-up after them."""

import uuid
from typing import Any

import pytest

from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.protocol import Request, Verb, Verdict
from spank_qrmi.redaction import is_secret_name, shown_argument, shown_value
from tests.unit.plugin_host import (
    BATCH_STEP,
    EXTERN_STEP,
    INTERACTIVE_STEP,
    PluginHost,
    Report,
    answer_of,
    fresh,
    needs_valgrind,
)

ARGUMENTS = (
    *("demo", "demopass", "http://127.0.0.1:8290", "key-id", "key-secret"),
    *("http://127.0.0.1:9000", "test", "us-east-1"),
)
FALLBACK = b"SLURM_SPANK__SLURM_SPANK_OPTION_spank_ibm_qrun_"
NO_OPTIONS: dict[str, Any] = {"options": [], "second_options": []}
ALWAYS: dict[str, Any] = {**NO_OPTIONS, "arguments": [*ARGUMENTS, "--always"]}
FAILED_ANSWER = "ended with status 3 before it had answered"
LOOK_THERE = "may still be on the service: look there, cancel and delete it"
ENVIRONMENT = Verb.QRUN_ENVIRONMENT
CLEANUP = Verb.QRUN_CLEANUP
FAILED = 256

DEFAULTS: dict[str, Any] = {
    "options": "ibm_torino",
    "second_options": "sampler",
    "arguments": ARGUMENTS,
    "submits": 1,
}


def run(host: PluginHost, **orders: Any) -> Report:
    """Run a batch step with both options whose tasks submit, unless ordered otherwise."""
    return host.run(**{**DEFAULTS, **orders})


def verbs(host: PluginHost) -> list[Verb]:
    return [request.verb for request in host.requests]


def job_ids(report: Report) -> list[str]:
    """Return what the tasks were given, in their order."""
    prefix = f"{names.JOB_ID}="
    return [
        text.removeprefix(prefix) for text in report.texts("task-set") if text.startswith(prefix)
    ]


def told_to_user(failure: str) -> str:
    text = f"--q-backend: the worker on this node {failure}"
    return f"{text}; tell the administrator: spank-qrmi check and slurmd's log say more"


def test_login_node_only_registers_the_options_and_other_jobs_are_left_alone(
    qrun_host: PluginHost,
) -> None:
    report = run(qrun_host, remote=0, arguments=[])
    assert report.texts("option") == [
        "--q-backend=name 1 0 Name of Qiskit backend.",
        "--q-primitive=type 1 0 Qiskit primitive type(sampler or estimator).",
    ]
    assert report.all("load") + report.all("task-set") + report.all("set") == []
    assert report.logged("error") + report.logged("info") + report.shown_to_user == []
    assert report.task_statuses == [0]
    report = run(qrun_host, **NO_OPTIONS)
    assert report.all("load") + report.all("set") + report.all("task-set") == []
    assert (report.task_statuses, report.shown_to_user) == ([0], [])
    assert report.texts("task-log-debug") == [
        "spank_ibm_qrun: -> slurm_spank_task_init argc=8 remote=1",
        "spank_ibm_qrun: <- slurm_spank_task_init rc=0",
    ]


def test_environment_is_asked_for_with_the_jobs_options(qrun_host: PluginHost) -> None:
    qrun_host.answer_and_keep(answer_of())
    run(qrun_host, options=["first", "ibm_torino"], second_options=["estimator"], tasks=0)
    assert qrun_host.requests == [
        Request(
            *(ENVIRONMENT, 7, 0, BATCH_STEP, 1000, 10),
            q_backend="ibm_torino",
            q_primitive="estimator",
            time_limit_minutes=60,
            start_time=1_700_000_000,
            **dict.fromkeys(("account", "partition", "licenses", "user"), ""),  # type: ignore[arg-type]
            restarts=0,
            arguments=ARGUMENTS,
        )
    ]


BOTH = [ENVIRONMENT, CLEANUP]


def test_every_step_of_a_job_with_an_option_asks(qrun_host: PluginHost) -> None:
    steps: list[tuple[dict[str, Any], list[Verb]]] = [
        ({}, BOTH),
        ({"options": []}, BOTH),
        ({"second_options": []}, BOTH),
        ({"step_id": 3}, BOTH),
        ({"step_id": INTERACTIVE_STEP}, BOTH),
        ({"step_id": EXTERN_STEP}, []),
        ({"missing": "job_id"}, []),
        (NO_OPTIONS, []),
        ({**NO_OPTIONS, "environment": [FALLBACK + b"q_backend="]}, []),
        ({**NO_OPTIONS, "arguments": ["--always=1"]}, []),
        (ALWAYS, [ENVIRONMENT]),
        ({**ALWAYS, "step_id": EXTERN_STEP}, []),
    ]
    for orders, asks in steps:
        with fresh(qrun_host, orders) as host:
            host.answer_and_keep(answer_of(variables=[(names.S3_REGION, "1")]))
            report = run(host, **orders)
            assert verbs(host) == asks
            assert (f"{names.S3_REGION}=1" in report.texts("task-set")) is bool(asks)
            assert len(job_ids(report)) == (CLEANUP in asks)
            assert report.all("set") == []


def test_lines_have_the_form_of_the_documentation(qrun_host: PluginHost) -> None:
    values = dict(zip(names.SITE_VARIABLES, ARGUMENTS, strict=True))
    qrun_host.answer(answer_of(variables=list(values.items())))
    report = run(qrun_host, command=["/spool/slurm_script", "a\nb", "x" * 5000])
    [job_id] = job_ids(report)
    shown = {name: "****" if is_secret_name(name) else value for name, value in values.items()}
    assert report.texts("task-log-debug") == [
        f"spank_ibm_qrun: {line}"
        for line in (
            "-> slurm_spank_task_init argc=8 remote=1",
            *(f"argv[{number}] = [{value}]" for number, value in enumerate(shown.values())),
            "S_JOB_UID [1000]",
            "S_JOB_ID [7]",
            "S_JOB_ARGV argc=3",
            "job_argv[0] = [/spool/slurm_script]",
            "job_argv[1] = [a?b]",
            f"job_argv[2] = [{'x' * 1023}]",
            *(f"setenv {name}={value}" for name, value in shown.items()),
            f"setenv IBMQRUN_JOB_ID={job_id}",
            "<- slurm_spank_task_init rc=0",
        )
    ]
    assert [number for number, value in enumerate(shown.values()) if value == "****"] == [1, 3, 4]
    # Of values at unknown positions each may be secret.
    for count in (1, 7, 9):
        report = run(qrun_host, arguments=["secret"] * count)
        assert report.texts("task-log-debug").count("spank_ibm_qrun: argv[0] = [****]") == 1, count
        assert not [text for _, text in report.lines if b"[secret]" in text], count


def test_plugin_and_worker_show_arguments_and_values_alike(qrun_host: PluginHost) -> None:
    proxies = (
        *("http://user:word@proxy:3128", "user:wo://rd@proxy"),
        *("user:word@proxy/?to=https://us@other", "no user://here"),
    )
    arguments = [
        *("--iam-apikey=abc=d", "--service-crn=crn:v1:x", "--iam-endpoint=https://iam.test"),
        *("--credentials=/etc/slurm/key.json", "--always", "--env:proxy=u:p@proxy:1"),
        *("--env:at=@", "--env:EMPTY="),
        *(f"--env:{name}={value}" for name in ("https_proxy", "A_TOKEN") for value in proxies),
    ]
    of_secrets = ("IAM_APIKEY", "service_crn", "Password", "SESSION_ID")
    variables = [(f"IBMQRUN_{name}", "abc") for name in of_secrets]
    shown_values = (
        *("https://user:word@host:1/path", "http://us@er:w@rd@host", "https://host/path"),
        *("word@host", "", "tab\tbell\x07"),
    )
    variables += [("IBMQRUN_A", value) for value in shown_values]
    qrun_host.answer(answer_of(variables=variables))
    report = run(qrun_host, arguments=arguments)
    variables.append((names.JOB_ID, *job_ids(report)))
    assert report.texts("task-set") == [f"{name}={value}" for name, value in variables]
    lines = [f"argv[{number}] = [{shown_argument(each)}]" for number, each in enumerate(arguments)]
    lines += [f"setenv {name}={shown_value(name, value)}" for name, value in variables]
    clean = ("".join(each if each.isprintable() else "?" for each in line) for line in lines)
    shown = [line for line in report.texts("task-log-debug") if ": argv" in line or ": set" in line]
    assert shown == [f"spank_ibm_qrun: {line}" for line in clean]


def test_of_a_users_own_variables_only_a_log_level_counts(qrun_host: PluginHost) -> None:
    variables = [("RUST_LOG", "trace"), ("IBMQRUN_S3_BUCKET", "the site's")]
    qrun_host.answer(answer_of(variables=variables))
    arguments = [*ARGUMENTS, "--env:RUST_LOG=trace"]
    inherited = ["IBMQRUN_S3_BUCKET=of the user", f"IBMQRUN_JOB_ID={uuid.uuid4()}"]
    for level, expected in {"warn": [], "info": ["RUST_LOG=trace"]}.items():
        environment = [*inherited, f"RUST_LOG={level}"]
        report = run(qrun_host, arguments=arguments, environment=environment)
        *given, job_id = report.texts("task-set")
        assert given == [*expected, "IBMQRUN_S3_BUCKET=the site's"]
        assert job_id.startswith("IBMQRUN_JOB_ID=")
        assert job_id != inherited[1]


def test_what_slurm_refuses_or_does_not_tell_is_done_without(qrun_host: PluginHost) -> None:
    qrun_host.answer(answer_of(variables=[(names.APPID_SECRET, "secret"), (names.S3_REGION, "2")]))
    report = run(qrun_host, unsettable=names.APPID_SECRET)
    assert report.shown_to_user == [f"cannot set {names.APPID_SECRET} in the job: Generic error"]
    assert f"{names.S3_REGION}=2" in report.texts("task-set")
    for missing, ids in (("tasks", 0), ("task", 0), ("command", 1)):
        report = run(qrun_host, missing=missing)
        assert (report.task_statuses, len(job_ids(report))) == ([0], ids), missing
        assert f"{names.S3_REGION}=2" in report.texts("task-set"), missing


def test_each_task_has_an_id_of_its_own(qrun_host: PluginHost) -> None:
    qrun_host.answer_and_keep(answer_of())
    found = [job_ids(run(qrun_host, tasks=tasks)) for tasks in (1, 2, 300)]
    assert [len(ids) for ids in found] == [1, 2, 300]
    everything = [text for ids in found for text in ids]
    assert len(set(everything)) == len(everything)
    for text in everything:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (4, uuid.RFC_4122, text)
    cleaned = [request.quantum_jobs for request in qrun_host.requests if request.verb is CLEANUP]
    assert cleaned == [tuple(ids) for ids in found]


def test_step_without_random_numbers_or_with_too_long_arguments_does_not_start(
    qrun_host: PluginHost,
) -> None:
    qrun_host.answer_and_keep(answer_of())
    too_long = (
        "cannot be asked: the arguments in plugstack.conf or the ids of the tasks are too long "
        "(256 KiB each, 8 MiB in all)"
    )
    orders: dict[str, Any]
    for failure, orders in {
        "has no random numbers, or no memory, for the ids of quantum jobs": {"is_random_out": 1},
        too_long: {"arguments": ["x" * 300_000]},
    }.items():
        report = run(qrun_host, **orders)
        assert report.shown_to_user == [told_to_user(failure)]
        assert (report.task_statuses, job_ids(report), verbs(qrun_host)) == ([1], [], [ENVIRONMENT])


def test_failure_fails_each_task_of_who_asked_and_is_told_once(qrun_host: PluginHost) -> None:
    qrun_host.answer_and_keep(answer_of(verdict=Verdict.FAIL, messages=["the reason"], held=1))
    for reason in ("the reason", told_to_user(FAILED_ANSWER)):
        report = run(qrun_host, tasks=3)
        assert (report.task_statuses, report.shown_to_user) == ([1, 1, 1], [reason])
        # It does not harm a job that asked for nothing, of which slurmctld is asked nothing.
        always = run(qrun_host, **ALWAYS)
        assert (always.task_statuses, always.shown_to_user) == ([0], [])
        assert (always.logged("error"), always.all("load")) == ([reason], [])
        assert (job_ids(report), verbs(qrun_host)) == ([], [ENVIRONMENT] * 2)
        qrun_host.play("exit 3")


def test_step_whose_tasks_never_ran_qrun_asks_nothing(qrun_host: PluginHost) -> None:
    for statuses in ([0, 0], [FAILED, 0], [9, 9]):
        with fresh(qrun_host, statuses) as host:
            host.answer_and_keep(answer_of())
            report = run(host, tasks=2, statuses=statuses, submits=0)
            assert verbs(host) == [ENVIRONMENT]
            assert report.logged("error") + report.logged("info") == []
            assert report.left_open == 1


def test_flood_of_words_that_announce_a_quantum_job_costs_one_question(
    qrun_host: PluginHost,
) -> None:
    qrun_host.answer_and_keep(answer_of())
    report = run(qrun_host, tasks=3, submits=1000)
    assert verbs(qrun_host) == BOTH
    assert qrun_host.requests[1].quantum_jobs == tuple(job_ids(report))


@pytest.mark.parametrize(
    ("statuses", "orders", "cleaned"),
    [
        # A task that ended well, and the last one, wait for the end of the step.
        ([0, 0, 0], {}, [[0, 1, 2]]),
        ([0, 0, FAILED], {}, [[0, 1, 2]]),
        ([FAILED, 0, 0], {}, [[0], [1, 2]]),
        # What ended before is taken along.
        ([0, FAILED, 0], {}, [[0, 1], [2]]),
        ([FAILED, FAILED, FAILED], {}, [[0], [1], [2]]),
        # Another child has ended: its hook comes next.
        ([FAILED, FAILED, FAILED], {"unreaped": 1}, [[0, 1], [2]]),
        ([FAILED, 0, 0], {"unreaped": 1}, [[0, 1, 2]]),
        ([FAILED, 0, 0], {"missing": "status"}, [[0, 1, 2]]),
    ],
)
def test_task_that_fails_is_cleaned_up_after_while_others_run(
    qrun_host: PluginHost, statuses: list[int], orders: dict[str, Any], cleaned: list[list[int]]
) -> None:
    qrun_host.answer_and_keep(answer_of())
    report = run(qrun_host, tasks=3, statuses=statuses, **orders)
    ids = job_ids(report)
    requests = [request for request in qrun_host.requests if request.verb is CLEANUP]
    assert [request.quantum_jobs for request in requests] == [
        tuple(ids[task] for task in tasks) for tasks in cleaned
    ]
    seconds = [request.timeout_seconds for request in requests]
    assert seconds == [5] * (len(cleaned) - 1) + [20]


def test_job_of_a_killed_task_may_yet_arrive(qrun_host: PluginHost) -> None:
    # A script that is cancelled ends by SIGTERM; a qrun that has cleaned up exits with 143.
    killed, ended = (9, 15, 137 << 8), (0, 143 << 8, 9 << 8)
    for status in (*killed, *ended):
        with fresh(qrun_host, status) as host:
            host.answer_and_keep(answer_of())
            first, second = job_ids(run(host, tasks=2, statuses=[0, status]))
            request = host.requests[-1]
            jobs = (request.quantum_jobs, request.killed_quantum_jobs)
            assert jobs == (((first,), (second,)) if status in killed else ((first, second), ()))


def test_what_fails_is_tried_once_more_when_the_step_ends(qrun_host: PluginHost) -> None:
    reason = "quantum job x may still be on the service: no answer"
    qrun_host.answer_and_keep(answer_of(held=1, messages=[reason]))
    # Both keep to the site's timeout.
    arguments = (*ARGUMENTS, "--cleanup-timeout=3")
    report = run(qrun_host, tasks=3, statuses=[FAILED, FAILED, FAILED], arguments=arguments)
    ids = tuple(job_ids(report))
    facts = (CLEANUP, 7, 0, BATCH_STEP, 1000, 3)
    expected = [Request(*facts, arguments=arguments, quantum_jobs=jobs) for jobs in (ids[:1], ids)]
    assert qrun_host.requests[1:] == expected
    assert report.logged("info") == [f"{reason}; tried again when the step ends"]
    assert report.logged("error") == [reason]


@pytest.mark.parametrize(
    ("ending", "failure"),
    [
        ("exit 3", f"the worker {FAILED_ANSWER}"),
        ("exec sleep 1000", "the worker did not answer in time"),
        ('exec cat "$folder/refusal"', "--q-backend: internal error"),
    ],
)
def test_clean_up_that_cannot_be_tried_names_every_job(
    qrun_host: PluginHost, ending: str, failure: str
) -> None:
    refusal = answer_of(verdict=Verdict.FAIL, messages=["--q-backend: internal error"], held=1)
    (qrun_host.folder / "refusal").write_bytes(refusal)
    qrun_host.answer_once(answer_of(), ending)
    report = run(qrun_host, tasks=2, arguments=[*ARGUMENTS, "--cleanup-timeout=1"], speed=20)
    jobs = [f"quantum job {job_id} {LOOK_THERE}" for job_id in job_ids(report)]
    assert (report.logged("error"), len(jobs)) == ([failure, *jobs], 2)
    assert report.task_statuses == [0, 0]


@needs_valgrind
@pytest.mark.parametrize(
    ("message", "orders", "status"),
    [
        (
            answer_of(variables=[(names.S3_REGION, "1")], logs=[("error", "y")]),
            {"options": [], "environment": FALLBACK + b"q_backend=a"},
            0,
        ),
        (answer_of(variables=[(names.APPID_SECRET, "x" * 200_000)], held=1, messages=["x"]), {}, 0),
        (answer_of(verdict=Verdict.FAIL, messages=["text"]), {}, 1),
        (
            answer_of(verdict=Verdict.FAIL, variables=[(names.S3_REGION, "1")], messages=["text"]),
            ALWAYS,
            0,
        ),
        (None, {}, 1),
    ],
    ids=["run", "held", "fail", "always", "no worker"],
)
def test_memory_is_used_as_it_should(
    qrun_host: PluginHost, message: bytes | None, orders: dict[str, Any], status: int
) -> None:
    if message is not None:
        qrun_host.answer(message)
    tasks = {"tasks": 3, "statuses": [FAILED, 0, 0], "command": ["script", "x" * 3000]}
    report = qrun_host.run_in_valgrind(**{**DEFAULTS, **tasks, **orders})
    assert report.task_statuses == [status] * 3
