# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin that plugstack.conf lists twice: loaded once, with its hooks called for each line."""

import itertools
from pathlib import Path
from typing import Any

from spank_qrmi.protocol import Verb
from tests.unit.plugin_host import CONFIG, PluginHost, answer_of, fresh

NOTICE = (
    "warning: listed twice in plugstack.conf: the first line that says where the configuration is "
    "counts, for all hooks; remove the other"
)
WITH_CONFIG = [CONFIG, "--state-dir=/var/x", "--release-timeout=9"]


def orders(lines: tuple[list[str], list[str]]) -> dict[str, Any]:
    first, second = lines
    return {"arguments": first, "second_line": second, "is_listed_twice": 1}


def test_both_ends_of_a_job_go_by_the_first_line_with_a_configuration(host: PluginHost) -> None:
    others: tuple[list[str], ...] = ([], ["--state-dir=/var/y"], WITH_CONFIG)
    tried = [lines for other in others for lines in itertools.permutations((WITH_CONFIG, other))]
    for lines in (*tried, (WITH_CONFIG, ["/second"]), ([], [])):
        counting = WITH_CONFIG if any(lines) else []
        with fresh(host, lines) as each:
            each.answer_and_keep(answer_of(held=1, messages=["a word"]))
            report = each.run(**orders(lines))
            asked = [(request.verb, list(request.arguments)) for request in each.requests]
            assert asked == [(Verb.ACQUIRE, counting), (Verb.RELEASE, counting)]
            assert report.logged("info") == [NOTICE]
            assert report.shown_to_user == ["a word"]
            assert report.texts("task-set") == ["RUST_LOG=info"]
    # Nothing is told of it at submission.
    report = host.run(**orders((WITH_CONFIG, [])), remote=0)
    assert report.logged("info") + report.logged("error") == []


def test_epilog_goes_by_the_line_with_the_configuration(host: PluginHost, tmp_path: Path) -> None:
    (tmp_path / "7-0-0-a.json").touch()
    state = f"--state-dir={tmp_path}"
    counting, other = [CONFIG, state], [state, "--release-timeout=1"]
    # It releases once, where two lines share a journal too.
    for lines in ((counting, other), (other, counting), (counting, counting)):
        with fresh(host, lines) as each:
            each.answer_and_keep(answer_of())
            report = each.run(**orders(lines), is_epilog=1, remote=0, options=[])
            assert [request.arguments for request in each.requests] == [(CONFIG, state)]
            assert report.logged("error") == []


def test_both_ends_of_a_step_with_qrun_go_by_the_line_with_the_credentials(
    qrun_host: PluginHost,
) -> None:
    step = {"options": "ibm_torino", "second_options": "sampler", "submits": 1, "tasks": 2}
    in_file = ["--credentials=/etc/slurm/qrun.json", "--cleanup-timeout=9"]
    in_line, other = list("abcdefgh"), ["--cleanup-timeout=3"]
    for lines in ((in_file, other), (other, in_file), (in_line, other), (other, in_line)):
        counting = in_file if in_file in lines else in_line
        with fresh(qrun_host, lines) as each:
            each.answer_and_keep(answer_of(held=0, messages=["a word"]))
            report = each.run(**step, **orders(lines))
            asked = [(request.verb, list(request.arguments)) for request in each.requests]
            assert asked == [(Verb.QRUN_ENVIRONMENT, counting), (Verb.QRUN_CLEANUP, counting)]
            assert report.logged("info") == [NOTICE]
            assert report.shown_to_user == ["a word"]
            given = [text for text in report.texts("task-set") if "IBMQRUN_JOB_ID" in text]
            assert len(given) == len(set(given)) == 2
