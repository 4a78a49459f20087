# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that `--env:` names, which nobody else may change; and the file of proxies."""

from pathlib import Path

from spank_qrmi.configuration.node_variables import (
    MAX_FILE_BYTES,
    check_certificates,
    with_file_variables,
)
from spank_qrmi.configuration.qrmi_plugstack import PluginArguments, parse_arguments
from spank_qrmi.errors import ArgumentError
from tests.unit.outcomes import WRITABLE, refusal_of

LOGIN = "user:password-of-the-site"


def test_certificates_that_others_can_write_or_that_cannot_be_read_are_refused(
    tmp_path: Path,
) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.touch()
    folder.mkdir()
    named = (("SSL_CERT_FILE", file, str(file)), ("SSL_CERT_DIR", folder, f"{folder}:{folder}"))
    for name, path, value in named:
        path.chmod(0o755)
        check_certificates({name: value})
        path.chmod(0o775)
        text = refusal_of(ArgumentError, check_certificates, {name: value})
        assert text == f"--env:{name}: {path}: {WRITABLE} {path}"
    for value, expected in {
        "/nowhere/ca.pem": "/nowhere/ca.pem: cannot be read: No such file or directory",
        "ca.pem": "ca.pem: must be an absolute path",
    }.items():
        text = refusal_of(ArgumentError, check_certificates, {"SSL_CERT_FILE": value})
        assert text == f"--env:SSL_CERT_FILE: {expected}"
    check_certificates({"SSL_CERT_FILE": "", "SSL_CERT_DIR": "", "OTHER": "nowhere"})


def read(folder: Path, content: bytes, *options: str, mode: int = 0o600) -> PluginArguments:
    path = folder / "proxies"
    path.touch(mode=0o600)
    path.write_bytes(content)
    path.chmod(mode)
    arguments = ["/etc/qrmi_config.json", f"--env-file={path}", *options]
    return with_file_variables(parse_arguments(arguments))


def test_file_sets_what_the_line_does_not(tmp_path: Path) -> None:
    content = f"# proxies\n\n https_proxy = http://{LOGIN}@p:1\r\nNO_PROXY=a,b=c\n".encode()
    arguments = read(tmp_path, content, "--env:A=1")
    login = {"https_proxy": f"http://{LOGIN}@p:1"}
    assert arguments.node_variables == {**login, "NO_PROXY": "a,b=c", "A": "1"}
    assert LOGIN not in repr(arguments)
    assert arguments.exposures == ()
    of_line = f"--env:https_proxy=http://{LOGIN}@line:1"
    arguments = read(tmp_path, content, of_line)
    assert arguments.node_variables["https_proxy"] == f"http://{LOGIN}@line:1"
    [exposure] = arguments.exposures
    assert exposure.startswith("--env:https_proxy: a secret in plugstack.conf")
    assert read(tmp_path, b"no_proxy=a\nno_proxy=\n").node_variables == {"no_proxy": ""}


def test_line_that_cannot_be_used_is_named_without_its_value(tmp_path: Path) -> None:
    names = "http_proxy, https_proxy, all_proxy or no_proxy"
    form = f"must be NAME=VALUE, printable, with {names} as NAME"
    for content, expected in {
        LOGIN: f"line 1: {form}",
        f"\n=http://{LOGIN}": f"line 2: {form}",
        f"# a\nno_proxy=a\nPATH={LOGIN}": f"line 3: {form}",
        f"https_proxy={LOGIN}\0": f"line 1: {form}",
        f"Https_proxy={LOGIN}": f"line 1: {form}",
        f"no_proxy=a\nhttps_proxy={LOGIN}\udcff": "line 2: is not UTF-8 text",
        "#" * (MAX_FILE_BYTES + 1): f"is larger than {MAX_FILE_BYTES} bytes",
    }.items():
        data = content.encode(errors="surrogateescape")
        text = refusal_of(ArgumentError, read, tmp_path, data)
        assert text == f"--env-file: {tmp_path}/proxies: {expected}", content[:80]


def test_file_of_proxies_is_for_root_alone(tmp_path: Path) -> None:
    path = tmp_path / "proxies"
    text = refusal_of(ArgumentError, lambda: read(tmp_path, b"no_proxy=a", mode=0o640))
    readable = f"holds secrets that others than its owner can read: chmod 600 {path}"
    assert text == f"--env-file: {path}: {readable}"
