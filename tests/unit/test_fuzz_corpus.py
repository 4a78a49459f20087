# SPDX-License-Identifier: GPL-3.0-or-later
"""The inputs that `make fuzz` starts from, each once, so that what was found stays mended."""

import subprocess
from pathlib import Path

import pytest

from fuzz import CORPUS, kept_inputs
from fuzz.plugin import PLUGIN_TARGETS, PluginTarget, build_replayer
from fuzz.targets import TARGETS, vendor_answers
from spank_qrmi.clients import CLIENTS

MOST_BYTES = 200_000


@pytest.mark.parametrize("target", TARGETS)
def test_worker_bears_every_kept_input(target: str) -> None:
    for path in kept_inputs(target):
        try:
            TARGETS[target](path.read_bytes())
        except Exception as error:
            raise AssertionError(path) from error


@pytest.mark.parametrize("target", PLUGIN_TARGETS, ids=lambda target: target.name)
def test_plugin_bears_every_kept_input(target: PluginTarget, tmp_path: Path) -> None:
    replayer = build_replayer(target, tmp_path)
    ended = subprocess.run(
        [replayer, *kept_inputs(target.name)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-4000:]


def test_corpus_has_answers_for_each_client() -> None:
    first_bytes = {path.read_bytes()[0] for path in kept_inputs("vendor_answers")}
    assert first_bytes == {*range(len(vendor_answers.CLIENTS))}
    assert vendor_answers.CLIENTS.keys() >= CLIENTS.keys()


def test_corpus_is_small_and_each_target_has_one() -> None:
    targets = {*TARGETS, *(target.name for target in PLUGIN_TARGETS)}
    assert {folder.name for folder in CORPUS.iterdir()} == targets
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) < MOST_BYTES
