# SPDX-License-Identifier: GPL-3.0-or-later
"""Result and log on their way to the user, from a store that is in trouble."""

import io
import json
from pathlib import Path
from typing import BinaryIO

import pytest

from spank_qrmi.errors import ObjectStoreError
from spank_qrmi.qrun import delivery
from spank_qrmi.qrun.delivery import MissingResultError, deliver_result, show_log
from spank_qrmi.qrun.outcome import ExitStatus, QrunError
from spank_qrmi.qrun.progress import Progress
from spank_qrmi.qrun.result_file import ResultFile
from spank_qrmi.qrun.submission import StoppedError
from spank_qrmi.redaction import Redactor
from tests.unit.fake_services import RecordingDeadline
from tests.unit.outcomes import trying

SILENT, BUSY, GONE, REFUSED = (
    ObjectStoreError("no answer", status=status) for status in (None, 503, 404, 403)
)


class FakeStore:
    """Answers with bytes or errors in turn; each error comes after a part of an object."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self._answers = iter(answers)

    def download(self, key: str, target: BinaryIO) -> None:
        answer = next(self._answers)
        if isinstance(answer, Exception):
            target.write(b"a part of it, longer than the whole")
            raise answer
        target.write(answer)

    def beginning(self, key: str, limit_bytes: int) -> bytes:
        target = io.BytesIO()
        self.download(key, target)
        return target.getvalue()[:limit_bytes]


def deliver(
    path: Path, *answers: bytes | Exception, deadline: RecordingDeadline | None = None
) -> None:
    store = FakeStore(*answers)
    deliver_result(store, "key", ResultFile(str(path)), deadline or RecordingDeadline())


def test_numbers_and_texts_stay_exact_and_a_large_result_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    text = '{"a": [1e-07, 123456789012345678901234567890, NaN, 0.1], "b": "ü", "c": "\\ud800"}'
    deliver(path, text.encode())
    written = path.read_text(errors="surrogateescape")
    assert json.dumps(json.loads(written)) == json.dumps(json.loads(text))
    assert "    1e-07,\n    123456789012345678901234567890,\n    NaN,\n    0.1\n" in written
    assert '"b": "ü"' in written
    for limit, expected in ((7, b'{\n  "a": 1\n}\n'), (6, b'{"a":1}')):
        monkeypatch.setattr(delivery, "LARGEST_PRETTY_BYTES", limit)
        deliver(path, b'{"a":1}')
        assert path.read_bytes() == expected


def test_store_in_trouble_is_asked_again_until_the_run_ends(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    deadline = RecordingDeadline()
    deliver(path, SILENT, BUSY, b"{}", deadline=deadline)
    assert (path.read_text(), deadline.waits) == ("{}\n", [1.0, 2.0])
    deadline.cancel()
    with pytest.raises(StoppedError):
        deliver(path, SILENT, deadline=deadline)


def test_result_that_cannot_be_had_is_an_error(tmp_path: Path) -> None:
    for answers, error_class, text in (
        ((SILENT,) * 6, QrunError, "no answer"),
        ((REFUSED,), QrunError, "no answer"),
        ((BUSY, GONE), MissingResultError, "the service has written no result"),
        ((OSError(28, "is full"),), QrunError, "no room for the result in .*: is full"),
        *(((each,), QrunError, "not JSON") for each in (b"{", b"", b"[" * 100_000, b"\xff")),
    ):
        with trying(answers):
            with pytest.raises(error_class, match=f"{text}$") as caught:
                deliver(tmp_path / "result.json", *answers)
            assert caught.value.status == ExitStatus.RESULT
            assert list(tmp_path.iterdir()) == []


def test_log_is_shown_as_far_as_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer, shown in (
        (b"one\ntwo\xff", "one\ntwo?\n"),
        (b"", ""),
        (b"123456789", "12345678\nqrun: the service's log is longer than 0 MiB\n"),
        (GONE, "qrun: the service has written no log\n"),
        (BUSY, "qrun: the service's log cannot be shown: no answer\n"),
    ):
        with trying(answer):
            monkeypatch.setattr(delivery, "SHOWN_LOG_BYTES", 8)
            stream = io.StringIO()
            show_log(FakeStore(answer), "key", Progress(stream, Redactor(), is_quiet=False))
            assert stream.getvalue().replace("\ufffd", "?") == shown
