# SPDX-License-Identifier: GPL-3.0-or-later
"""Values in files of their own: what is taken from a file, and the words for what is not."""

from pathlib import Path

from spank_qrmi.configuration.qrmi_config import Resource
from spank_qrmi.configuration.secret_files import MAX_SECRET_BYTES, read_secrets
from spank_qrmi.errors import ConfigError
from tests.unit.outcomes import WRITABLE, refusal_of

CONFIG_PATH = Path("/etc/slurm/qrmi_config.json")
PLACE = f"{CONFIG_PATH}: resource a: environment.QRMI_KEY"
SECRET = "value-that-must-not-be-shown"


def secret_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def resource_with(path: Path) -> Resource:
    return Resource("a", "any", {"QRMI_ENDPOINT": "https://site"}, {"QRMI_KEY": path})


def test_one_newline_at_the_end_is_left_out(tmp_path: Path) -> None:
    for content, expected in {
        b"value": "value",
        b"value\n": "value",
        b"value\n\n": "value\n",
        b" two\nlines \r\n": " two\nlines \r",
        "\N{SNOWMAN}".encode(): "\N{SNOWMAN}",
        b"x" * MAX_SECRET_BYTES: "x" * MAX_SECRET_BYTES,
    }.items():
        path = secret_file(tmp_path, content)
        resource, exposures = read_secrets(resource_with(path), CONFIG_PATH)
        environment = {"QRMI_ENDPOINT": "https://site", "QRMI_KEY": expected}
        assert resource.environment == environment, f"{content!r:.300}"
        assert (resource.secrets(), exposures) == ([expected], ()), f"{content!r:.300}"


def refusal_with(path: Path) -> str | None:
    return refusal_of(ConfigError, read_secrets, resource_with(path), CONFIG_PATH)


def test_file_that_cannot_be_used_is_named_with_resource_and_key(tmp_path: Path) -> None:
    for content, mode, expected in (
        (b"", 0o600, "is empty"),
        (b"\n", 0o600, "is empty"),
        (f"{SECRET}\0".encode(), 0o600, "holds a NUL character"),
        (SECRET.encode() + b"\xff", 0o600, "is not UTF-8 text"),
        (b"x" * (MAX_SECRET_BYTES + 1), 0o600, "is larger than 65536 bytes"),
        (SECRET.encode(), 0o620, f"{WRITABLE} {{path}}"),
        (SECRET.encode(), 0o604, "holds secrets that everybody can read: chmod 600 {path}"),
    ):
        path = secret_file(tmp_path, content, mode)
        assert refusal_with(path) == f"{PLACE}: {path}: {expected.format(path=path)}", expected
    link = tmp_path / "link"
    link.symlink_to(path)
    assert refusal_with(link) == f"{PLACE}: {link}: is a symbolic link: name the file itself"


def test_file_that_others_can_read_is_told_of(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"value", 0o640)
    _, exposures = read_secrets(resource_with(path), CONFIG_PATH)
    text = f"{path}: holds secrets that others than its owner can read: chmod 600 {path}"
    assert exposures == (f"{PLACE}: {text}",)
