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
OF_WARDEN = (
    *(b'"is_accessible": true', b'"is_accessible": false', b'"qpu_slots_available": 0'),
    *(b'"revoked_at": null', b'"revoked_at": "2026', b"Session not found.", b"Not Found"),
    *(b"Missing MUNGE credential", b"MUNGE credential expired", b"MUNGE decode failed"),
    *(b"restricted to root user.", b"restricted to admin user.", b"User ID not authorized."),
    *(b"Not enough QPU slots available.", b"another number of QPU slots", b"Missing session"),
    *(b'"missing"', b'"greater_than_equal"', b'"ctx"', b"Method Not Allowed"),
)
"""What its versions 1 and 2 say, in answers to what the worker asks."""


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


def test_corpus_has_answers_for_each_client() -> None:
    first_bytes = {path.read_bytes()[0] for path in kept_inputs("vendor_answers")}
    numbers = dict(enumerate(vendor_answers.CLIENTS))
    without = {number: numbers[number] for number in numbers.keys() - first_bytes}
    assert without == {}, "fuzz/corpus/vendor_answers has no file with this first byte"
    assert first_bytes <= numbers.keys()
    assert vendor_answers.CLIENTS.keys() >= CLIENTS.keys()


def test_each_document_of_warden_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[bytes] = set()

    class RecordingService(vendor_answers.HostileService):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            read.add(answers[min(len(asked), len(answers) - 1)])
            asked.append(request.url.path)
            return response

    monkeypatch.setattr(vendor_answers, "HostileService", RecordingService)
    for path in kept_inputs("vendor_answers"):
        if path.name.startswith("warden_"):
            asked: list[str] = []
            answers = path.read_bytes()[1:].split(b"\0")
            vendor_answers.check_vendor_answers(path.read_bytes())
            assert len(asked) >= len(answers), f"{path}: nobody asks for the last answers"
    assert [text for text in OF_WARDEN if not any(text in answer for answer in read)] == []


def test_corpus_is_small_and_each_target_has_one() -> None:
    targets = {*TARGETS, *(target.name for target in PLUGIN_TARGETS)}
    assert {folder.name for folder in CORPUS.iterdir()} == targets
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) < MOST_BYTES
