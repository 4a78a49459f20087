# SPDX-License-Identifier: GPL-3.0-or-later
"""The credentials file of spank_ibm_qrun.so: whose it must be, and what must stand in it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from spank_qrmi.configuration.qrun_credentials import MAX_FILE_BYTES, load_credentials
from spank_qrmi.errors import ConfigError
from tests.unit.outcomes import WRITABLE

APP_ID = {"APPID_CLIENT_ID": "demo", "APPID_SECRET": "secret-1"}
IAM = {"IAM_APIKEY": "secret-4", "SERVICE_CRN": "crn:v1", "IAM_ENDPOINT": "http://iam"}
REST = {
    "DAAPI_ENDPOINT": "http://api",
    "AWS_ACCESS_KEY_ID": "secret-2",
    "AWS_SECRET_ACCESS_KEY": "secret-3",
    "S3_ENDPOINT": "http://s3",
    "S3_BUCKET": "test",
    "S3_REGION": "us-east-1",
}
KNOWN = (
    "APPID_CLIENT_ID, APPID_SECRET, DAAPI_ENDPOINT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
    "S3_ENDPOINT, S3_BUCKET, S3_REGION, IAM_APIKEY, SERVICE_CRN, IAM_ENDPOINT"
)


def write(folder: Path, content: object, mode: int = 0o600) -> Path:
    path = folder / "credentials.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return path


def refusal(path: Path) -> str:
    """Return why the file is refused, nothing if it is taken; no secret may stand there."""
    try:
        load_credentials(path)
    except ConfigError as error:
        text = str(error)
    else:
        return ""
    assert text.startswith(f"{path}: ")
    assert "secret-" not in text
    assert text.isprintable()
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("content", [APP_ID | REST, REST | IAM, IAM | REST | APP_ID])
def test_credentials_become_variables(tmp_path: Path, content: dict[str, str]) -> None:
    for mode in ("600", "400"):
        folder = tmp_path / mode
        folder.mkdir()
        found = load_credentials(write(folder, content, int(mode, 8)))
        assert found == {f"IBMQRUN_{key}": value for key, value in content.items()}, mode
        assert [name.removeprefix("IBMQRUN_") for name in found] == [
            key for key in KNOWN.split(", ") if key in content
        ], mode


@pytest.mark.parametrize(
    "refusals",
    [
        [("", "is not JSON: "), ("{", "is not JSON: ")],
        [([1], "must be a JSON object, got an array")],
        [
            (
                '{"APPID_SECRET": "secret-1", "APPID_SECRET": "secret-2"}',
                "'APPID_SECRET' stands more than once: keep one",
            )
        ],
        [
            (
                REST,
                "needs APPID_CLIENT_ID and APPID_SECRET, or IAM_APIKEY, SERVICE_CRN, IAM_ENDPOINT",
            ),
            (REST | {"APPID_SECRET": "secret-1"}, "lacks APPID_CLIENT_ID"),
            (REST | APP_ID | {"IAM_APIKEY": "secret-4"}, "lacks SERVICE_CRN, IAM_ENDPOINT"),
            (APP_ID, f"lacks {', '.join(REST)}"),
        ],
        [
            (
                REST | APP_ID | {"ENDPOINT": "secret-5"},
                f"'ENDPOINT' is no known key; known are {KNOWN}",
            ),
            ({"\n" + "x" * 100: "1"}, f"'\\n{'x' * 39}' is no known key; known are {KNOWN}"),
        ],
        [
            (
                REST | APP_ID | {"S3_REGION": None},
                "S3_REGION: must be a string in quotes, got null",
            ),
            (
                REST | APP_ID | {"S3_BUCKET": 5},
                "S3_BUCKET: must be a string in quotes, got a number",
            ),
            (REST | APP_ID | {"APPID_SECRET": " "}, "APPID_SECRET: is empty"),
            (
                REST | APP_ID | {"APPID_SECRET": "secret-1\n"},
                "APPID_SECRET: holds a control character",
            ),
            (REST | APP_ID | {"APPID_SECRET": "a\0"}, "APPID_SECRET: holds a control character"),
        ],
        [(" " * (MAX_FILE_BYTES + 1), f"is larger than {MAX_FILE_BYTES} bytes")],
    ],
    ids=["no JSON", "no object", "repeated", "incomplete", "unknown key", "value", "too large"],
)
def test_content_that_cannot_be_used_is_named(
    tmp_path: Path, refusals: Sequence[tuple[object, str]]
) -> None:
    for content, expected in refusals:
        text = refusal(write(tmp_path, content))
        # What is wrong with JSON is the parser's to say.
        seen = text[: len(expected)] if expected.endswith(" ") else text
        assert seen == expected, f"{content!r:.300}"


def test_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    expected = f"holds secrets that others than its owner can read: chmod 600 {path}"
    modes = ("640", "604", "610", "601")
    found = {mode: refusal(write(tmp_path, APP_ID | REST, int(mode, 8))) for mode in modes}
    assert found == dict.fromkeys(modes, expected)


def test_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    expected = f"{WRITABLE} {path}"
    modes = ("620", "602")
    found = {mode: refusal(write(tmp_path, APP_ID | REST, int(mode, 8))) for mode in modes}
    assert found == dict.fromkeys(modes, expected)


def test_link_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(write(tmp_path, APP_ID | REST))
    assert refusal(link) == "is a symbolic link: name the file itself"


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nothing") == "cannot be read: No such file or directory"


def test_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert refusal(tmp_path / "pipe") == "is no regular file"


def test_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "is no regular file"
