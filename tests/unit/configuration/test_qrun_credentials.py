# SPDX-License-Identifier: GPL-3.0-or-later
"""The credentials file of spank_ibm_qrun.so: whose it must be, and what must stand in it."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from spank_qrmi.configuration.qrun_credentials import MAX_FILE_BYTES, load_credentials
from spank_qrmi.errors import ConfigError
from tests.unit.outcomes import WRITABLE, refusal_of

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
ALL = APP_ID | REST
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
    """Return why the file is refused; no secret may stand there."""
    text = refusal_of(ConfigError, load_credentials, path) or ""
    assert text.startswith(f"{path}: ")
    assert "secret-" not in text
    assert text.isprintable()
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("content", [APP_ID | REST, REST | IAM, IAM | REST | APP_ID])
def test_credentials_become_variables(tmp_path: Path, content: dict[str, str]) -> None:
    found = load_credentials(write(tmp_path, content))
    in_order = [key for key in KNOWN.split(", ") if key in content]
    assert list(found.items()) == [(f"IBMQRUN_{key}", content[key]) for key in in_order]


NO_LOGIN = "needs APPID_CLIENT_ID and APPID_SECRET, or IAM_APIKEY, SERVICE_CRN, IAM_ENDPOINT"
UNUSABLE: Sequence[tuple[object, str]] = [
    *(("", "is not JSON: "), ("{", "is not JSON: ")),
    ([1], "must be a JSON object, got an array"),
    (
        '{"APPID_SECRET": "secret-1", "APPID_SECRET": "secret-2"}',
        "'APPID_SECRET' stands more than once: keep one",
    ),
    (REST, NO_LOGIN),
    (REST | {"APPID_SECRET": "secret-1"}, "lacks APPID_CLIENT_ID"),
    (ALL | {"IAM_APIKEY": "secret-4"}, "lacks SERVICE_CRN, IAM_ENDPOINT"),
    (APP_ID, f"lacks {', '.join(REST)}"),
    (ALL | {"ENDPOINT": "secret-5"}, f"'ENDPOINT' is no known key; known are {KNOWN}"),
    ({"\n" + "x" * 100: "1"}, f"'\\n{'x' * 39}' is no known key; known are {KNOWN}"),
    (ALL | {"S3_BUCKET": 5}, "S3_BUCKET: must be a string in quotes, got a number"),
    (ALL | {"APPID_SECRET": " "}, "APPID_SECRET: is empty"),
    (ALL | {"APPID_SECRET": "secret-1\n"}, "APPID_SECRET: holds a control character"),
    (ALL | {"APPID_SECRET": "secret-1\0"}, "APPID_SECRET: holds a control character"),
    (" " * (MAX_FILE_BYTES + 1), f"is larger than {MAX_FILE_BYTES} bytes"),
]


def test_content_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    for content, expected in UNUSABLE:
        text = refusal(write(tmp_path, content))
        # What is wrong with JSON is the parser's to say.
        seen = text[: len(expected)] if expected.endswith(" ") else text
        assert seen == expected, f"{content!r:.300}"


def test_file_that_is_not_roots_alone_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ALL, 0o640)
    assert refusal(path) == f"holds secrets that others than its owner can read: chmod 600 {path}"
    path.chmod(0o620)
    assert refusal(path) == f"{WRITABLE} {path}"
    path.symlink_to(path.rename(tmp_path / "elsewhere"))
    assert refusal(path) == "is a symbolic link: name the file itself"
