# SPDX-License-Identifier: GPL-3.0-or-later
"""The inputs that `make fuzz` starts from, each once, so that what was found stays mended."""

import subprocess
from pathlib import Path

import httpx
import pytest

from fuzz import CORPUS, kept_inputs
from fuzz.plugin import PLUGIN_TARGETS, PluginTarget, build_replayer
from fuzz.targets import TARGETS, vendor_answers
from spank_qrmi.clients import CLIENTS
from tests.unit.outcomes import trying

MOST_BYTES = 200_000


@pytest.mark.parametrize("target", TARGETS)
def test_worker_bears_every_kept_input(target: str) -> None:
    for path in kept_inputs(target):
        with trying(path):
            TARGETS[target](path.read_bytes())


@pytest.mark.parametrize("target", PLUGIN_TARGETS, ids=lambda target: target.name)
def test_plugin_bears_every_kept_input(target: PluginTarget, tmp_path: Path) -> None:
    replayer = build_replayer(target, tmp_path)
    ended = subprocess.run(
        [replayer, *kept_inputs(target.name)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-4000:]


def test_corpus_is_small_and_each_target_and_each_client_has_one() -> None:
    targets = {*TARGETS, *(target.name for target in PLUGIN_TARGETS)}
    assert {folder.name for folder in CORPUS.iterdir()} == targets
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) < MOST_BYTES
    first_bytes = {path.read_bytes()[0] for path in kept_inputs("vendor_answers")}
    numbers = dict(enumerate(vendor_answers.CLIENTS))
    without = {number: numbers[number] for number in numbers.keys() - first_bytes}
    assert without == {}, "fuzz/corpus/vendor_answers has no file with this first byte"
    assert first_bytes <= numbers.keys()
    assert vendor_answers.CLIENTS.keys() >= CLIENTS.keys()


def test_each_answer_of_warden_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class RecordingService(vendor_answers.HostileService):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(request.url.path)
            return super().handle_request(request)

    monkeypatch.setattr(vendor_answers, "HostileService", RecordingService)
    of_warden = [each for each in kept_inputs("vendor_answers") if each.name.startswith("warden_")]
    assert of_warden != []
    for path in of_warden:
        asked.clear()
        vendor_answers.check_vendor_answers(path.read_bytes())
        assert len(asked) > path.read_bytes().count(b"\0"), path
