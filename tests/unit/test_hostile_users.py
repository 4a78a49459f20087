# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user can reach by option values, environment and resource names, and what he cannot."""

import sys
import unicodedata
from dataclasses import replace
from itertools import product
from pathlib import Path

from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.protocol import Request, Verb
from tests.unit.conversation import ServingWorker, joined
from tests.unit.outcomes import trying
from tests.unit.plugin.test_spank_qrmi import NO_TEXT
from tests.unit.plugin_host import CONFIG, NOTHING_HELD, PluginHost, answer_of, told_to_user

# Each could end a line, drive a terminal or show a text in another order than it has.
UNPRINTABLE = [
    *(b"\n", b"\x1b[2J", b"\x7f"),
    # Control characters of C1, as UTF-8 and as a byte.
    *(b"\xc2\x9b31m", b"\x9b31m"),
    # Separators of lines and paragraphs, what turns the order of a text, and what is not seen.
    *(each.encode() for each in "\u2028\u2029\u202e\u2066\u200f\ufeff\U000e0041"),
    # No UTF-8: cut off, overlong, a surrogate, beyond Unicode.
    *(b"\xc3", b"\xbf", b"\xe2\x80", b"\xc0\x8a", b"\xe0\x80\x8a", b"\xed\xa0\x80"),
    *(b"\xf4\x90\x80\x80", b"\xff\xfe"),
]


def test_option_that_no_terminal_should_see_is_refused(
    host: PluginHost, qrun_host: PluginHost
) -> None:
    for plugin, option in ((host, "--qpu"), (qrun_host, "--q-backend")):
        plugin.answer(answer_of())
        for text, remote in product(UNPRINTABLE, (0, 1)):
            with trying((option, text, remote)):
                report = plugin.run(options=b"a" + text + b"b", remote=remote)
                told = report.shown_to_user if remote else report.logged("error")
                assert report.texts("callback") == ["0" if remote else "-1"]
                assert told == [f"{option} {NO_TEXT}"]
                assert [line for line in report.logged("debug") if f"{option}=[" in line] == []


def test_option_of_odd_but_printable_text_is_only_text(host: PluginHost) -> None:
    host.answer_and_keep(answer_of())
    options = ("%s%n%x%1000000d%%", "ü€😀", "a\u00a0b", "../../etc", "$(reboot)", "a=b")
    for option in options:
        with trying(option):
            report = host.run(options=option)
            assert f"--qpu=[{option}]" in report.logged("debug")
            assert report.task_statuses == [0]
    assert [request.qpu_option for request in host.requests] == [*options]


def test_environment_of_a_job_forges_no_line(host: PluginHost) -> None:
    host.answer(answer_of())
    for text in UNPRINTABLE:
        with trying(text):
            types = b"one" + text + b"error: forged"
            environment = [b"SLURM_QRMI_JOB_ID=7", b"SLURM_JOB_QPU_RESOURCES=a"]
            environment += [b"SLURM_JOB_QPU_TYPES=" + types]
            report = host.run(step_id=0, options="a,b", environment=environment)
            assert report.variables[b"SLURM_JOB_QPU_TYPES"] == types
            assert report.shown_to_user == []
            assert [
                line for kind, line in report.lines if "log" in kind and b"forged" in line
            ] == []


def is_dangerous(character: str) -> bool:
    direction = unicodedata.bidirectional(character)
    turns = direction in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return turns or unicodedata.category(character) in {"Cc", "Zl", "Zp"}


def test_plugin_masks_what_is_dangerous_and_nothing_that_python_prints(host: PluginHost) -> None:
    # All but NUL and the surrogates, some thousands at a time.
    characters = [*map(chr, range(1, 0xD800)), *map(chr, range(0xE000, sys.maxunicode + 1))]
    places = range(0, len(characters), 50_000)
    pieces = ["".join(characters[place : place + 50_000]) for place in places]
    messages = [(b"m", piece.encode()) for piece in pieces]
    host.answer(joined([*messages, (b"n", b"0"), (b"v", b"run"), (b".", b"")]))
    report = host.run()
    for piece, shown in zip(pieces, report.shown_to_user, strict=True):
        masked = {*piece} - {*shown}
        assert {each for each in piece if is_dangerous(each)} <= masked
        assert [each for each in masked if each.isprintable()] == []


def test_answer_sets_only_variables_of_ours(host: PluginHost) -> None:
    for name in (
        *("PATH", "LD_PRELOAD", "SLURM_JOB_ID", "SLURM_EXPORT_ENVIRONMENT", "SPANK_A", "%s%n"),
        *("b_QRMI_KEY", "a", "ab_QRMI_KEY", "A_QRMI_KEY", "QRMI_JOB", "SITE_", "SIT"),
    ):
        answer = answer_of(variables=[("a_QRMI_KEY", "1"), (name, "x"), ("QRMI_JOB_ID", "7")])
        host.answer(answer)
        with trying(name):
            report = host.run(arguments=[CONFIG, "--env:SITE=1", "--env:LD_PRELOADED=1"])
            failure = f"gave an answer that would set {name}, which is not its to set"
            assert report.shown_to_user == [told_to_user(failure)]
            assert (report.variables, report.task_statuses) == (NOTHING_HELD, [1])
    host.answer_and_keep(answer)
    host.run()
    # What such a worker may have acquired is given back.
    assert [request.verb for request in host.requests] == [Verb.ACQUIRE, Verb.RELEASE]


def test_answer_may_set_what_the_administrator_names(host: PluginHost) -> None:
    ours = ("QRMI_JOB_ID", "QRMI_JOB_UID", "QRMI_JOB_QPU_TYPES", "SLURM_JOB_QPU_RESOURCES")
    for names_set, arguments, is_set in (
        ((*ours, "SLURM_EXPORT_ENV", "a_QRMI_KEY", "a_OTHER"), "--env:A=1", True),
        (("http_proxy", "LD_PRELOAD"), "--env:http_proxy=p --env:LD_PRELOAD=/lib/x.so", True),
        # A file may name proxies, and nothing else.
        (("https_proxy", "NO_PROXY"), "--env-file=/a", True),
        (("https_proxy",), "--env:A=1", False),
        (("https_proxy2",), "--env-file=/a", False),
        (("PATH",), "--env-file=/a", False),
    ):
        with trying((names_set, arguments)):
            host.answer(answer_of(variables=[(name, "x") for name in names_set]))
            report = host.run(options="c, a", arguments=[CONFIG, *arguments.split()])
            found = {name.decode() for name, value in report.variables.items() if value == b"x"}
            assert found == ({*names_set} if is_set else set())
            assert report.task_statuses == [0 if is_set else 1]


def test_answer_for_qrun_sets_only_variables_of_qrun(qrun_host: PluginHost) -> None:
    orders = {"options": "a", "second_options": "sampler", "arguments": ["--env:SITE=1"]}
    for name in ("PATH", "LD_PRELOAD", "QRMI_JOB_ID", "IBMQRUN", "ibmqrun_A"):
        with trying(name):
            qrun_host.answer(answer_of(variables=[(names.S3_REGION, "1"), (name, "x")]))
            report = qrun_host.run(**orders)
            assert (report.task_statuses, report.all("task-set")) == ([1], [])
            failure = f"gave an answer that would set {name}, which is not its to set"
            assert failure in report.shown_to_user[0]


def test_worker_sees_only_variables_of_the_qpus_asked_for(host: PluginHost) -> None:
    host.answer_and_keep(answer_of(variables=[("a_QRMI_X", "1")]))
    foreign = [
        *(b"b_QRMI_X=1", b"a=1", b"a_QRM=1", b"QRMI_JOB_IDS=1", b"A_QRMI_X=1", b"X=a_QRMI_X"),
        *(b"PATH=/evil", b"LD_PRELOAD=/evil", b"PYTHONPATH=/evil", b"https_proxy=evil"),
        *(b"no equals sign a_QRMI_", *(b"b_QRMI_%d=x" % number for number in range(10_000))),
        *(b"b_QRMI_LARGE=" + b"x" * 1_048_576, b"LARGE=" + b"x" * 1_048_576),
    ]
    own = [b"a_QRMI_X=1", b"a_QRMI_=2", b"c_QRMI_\xff=\xfe"]
    report = host.run(options="a," * 255 + "c", environment=[*foreign, *own])
    seen = [f"{name}={value}" for name, value in host.requests[0].variables]
    assert [text.encode("utf-8", "surrogateescape") for text in seen] == own
    assert (report.task_statuses, report.variables[b"a_QRMI_X"]) == ([0], b"1")


def test_worker_of_qrun_sees_no_variable_of_the_job(qrun_host: PluginHost) -> None:
    qrun_host.answer_and_keep(answer_of())
    exported = [f"{name}=https://evil.test" for name in (names.DAAPI_ENDPOINT, names.IAM_ENDPOINT)]
    qrun_host.run(options="a", submits=1, environment=[*exported, "a_QRMI_X=1", "https_proxy=evil"])
    seen = [(each.verb, each.variables) for each in qrun_host.requests]
    assert seen == [(Verb.QRUN_ENVIRONMENT, ()), (Verb.QRUN_CLEANUP, ())]


def test_names_forge_no_line_of_the_worker(serving: ServingWorker, tmp_path: Path) -> None:
    """The plugin refuses such an option; the worker does not rely on it."""
    config = tmp_path / "qrmi_config.json"
    config.write_text('{"resources": []}')
    config.chmod(0o600)
    given = (str(config), f"--state-dir={tmp_path}/state")
    request = Request(Verb.ACQUIRE, 7, 0, 0, 1000, 60, arguments=given)
    for text in UNPRINTABLE:
        with trying(text):
            option = (b"a" + text + b"error: forged").decode("utf-8", "surrogateescape")
            answer = serving.ask(replace(request, qpu_option=option))
            assert answer.verdict == "fail"
            for line in (*answer.messages, *(line for _, line in answer.logs)):
                assert line.isprintable()
    # The longest one leaves the reason readable.
    rejected, conclusion = serving.ask(replace(request, qpu_option="x" * 65536)).messages
    assert rejected.startswith("QPU xxx")
    assert rejected.endswith("on this node; defined there: none")
    assert conclusion.endswith("no QPU could be acquired; the step does not start")
    assert len(rejected + conclusion) < 4000
