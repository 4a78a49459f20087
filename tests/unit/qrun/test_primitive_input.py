# SPDX-License-Identifier: GPL-3.0-or-later
"""Primitive inputs that qrun takes, and what it says of others."""

import os
import threading
from pathlib import Path

import pytest

from spank_qrmi.qrun import primitive_input
from spank_qrmi.qrun.outcome import ExitStatus, QrunError
from spank_qrmi.qrun.primitive_input import read_primitive_input
from tests.unit.outcomes import trying


def test_good_input_is_returned_byte_by_byte(tmp_path: Path) -> None:
    file, pipe = tmp_path / "input.json", tmp_path / "pipe"
    os.mkfifo(pipe)
    for content in (
        b'{"pubs": [["OPENQASM 3.0;"]], "version": 2}',
        b' {"version": 2, "pubs": [["c", null, 5], ["d"]], "options": {"x": [1]}, "new": 1}\n',
    ):
        file.write_bytes(content)
        assert read_primitive_input(str(file)) == content
        thread = threading.Thread(target=pipe.write_bytes, args=(content,))
        thread.start()
        assert read_primitive_input(str(pipe)) == content
        thread.join()


def problem_of(path: str) -> str:
    """Return why the input is refused."""
    with pytest.raises(QrunError) as caught:
        read_primitive_input(path)
    assert caught.value.status == ExitStatus.INPUT
    return str(caught.value)


def test_bad_input_has_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "input.json"
    for content, problem in {
        b'{"pubs": [': "is not JSON (line 1, column ",
        b"[" * 100_000: "is not JSON",
        b"[]": "must be a JSON object",
        b'{"version": 2}': "has no list of pubs",
        b'{"version": 2, "pubs": {}}': "has no list of pubs",
        b'{"version": 2, "pubs": []}': "has an empty list of pubs",
        b'{"version": 2, "pubs": [["c"], "d"]}': "has no pub in pubs[1]",
        b'{"version": 2, "pubs": [[]]}': "has no pub in pubs[0]",
        b'{"pubs": [["c"]]}': "must have version 2",
        b'{"pubs": [["c"]], "version": "2"}': "must have version 2",
        b'{"pubs": [["c"]], "version": 1}': "must have version 2",
        b'{"pubs": [["c"]], "version": true}': "must have version 2",
    }.items():
        path.write_bytes(content)
        with trying(content):
            assert f"{path} {problem}" in problem_of(str(path))


def test_files_that_cannot_be_read_or_are_too_large_have_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere, path = tmp_path / "nowhere", tmp_path / "input.json"
    assert problem_of(str(nowhere)) == f"{nowhere} cannot be read: No such file or directory"
    assert problem_of(str(tmp_path)) == f"{tmp_path} cannot be read: Is a directory"
    assert problem_of("a\0b").endswith("cannot be read: it is no file's name")
    monkeypatch.setattr(primitive_input, "LARGEST_INPUT_BYTES", 1024**2)
    path.write_bytes(b" " * (1024**2 + 1))
    for large in (str(path), "/dev/zero"):
        assert problem_of(large) == f"{large} is larger than 1 MiB"
