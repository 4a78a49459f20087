# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates are always verified; only the administrator's variables say against which."""

import re
import ssl
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from loopback.tls_entrance import TlsEntrance, tls_entrance_to
from spank_qrmi.clients.certificates import connection_reason
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.deadline import Deadline
from tests.unit.fake_services import RecordingDeadline, failure_of
from tests.unit.scripted_server import listening


def status_of(url: str, environment: dict[str, str]) -> int:
    with HttpClient(Deadline(20)) as http:
        http.open_with(environment)
        url = f"{url}/_simulator/state"
        return http.request("GET", url, headers={}, is_repeatable=True, max_tries=1).status


def failure_at(url: str, environment: dict[str, str] | None = None) -> str:
    """Return why a request fails; it is not made again, which would fail in the same way."""
    deadline = RecordingDeadline()
    with HttpClient(deadline) as http:
        http.open_with(environment or {})
        _, text = failure_of(lambda: http.request("GET", url, headers={}, is_repeatable=True))
    assert deadline.waits == []
    return text


def test_certificate_that_is_unknown_or_of_another_host_is_refused_whatever_else_is_set(
    entrance: TlsEntrance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("REQUESTS_CA_BUNDLE", str(entrance.certificate)),
        ("CURL_CA_BUNDLE", str(entrance.certificate)),
        ("PYTHONHTTPSVERIFY", "0"),
        ("SSL_VERIFY", "false"),
    ):
        monkeypatch.setenv(name, value)
        assert "its certificate is not trusted" in failure_at(entrance.url), name
    url = entrance.url.replace("127.0.0.1", "localhost")
    trusted = {"SSL_CERT_FILE": str(entrance.certificate), "no_proxy": "localhost"}
    assert failure_at(url, trusted) == (
        f"cannot connect to {url}: its certificate is of another host (Hostname mismatch, "
        "certificate is not valid for 'localhost'): correct the endpoint's URL, or tell who runs "
        "the service"
    )


@pytest.mark.parametrize(
    ("begins_in", "state"),
    [(timedelta(days=-2), "has expired"), (timedelta(hours=1), "is not yet valid")],
)
def test_certificate_of_another_time_is_refused(
    base_url: str, tmp_path: Path, begins_in: timedelta, state: str
) -> None:
    with tls_entrance_to(base_url, tmp_path, begins_in=begins_in) as entrance:
        text = failure_at(entrance.url, {"SSL_CERT_FILE": str(entrance.certificate)})
    assert re.fullmatch(
        rf"cannot connect to {entrance.url}: its certificate, or one that proves it, {state}: "
        r"check this node's clock \(now \S+ \S+ UTC\), then tell who runs the service",
        text,
    )


def test_folder_without_certificates_trusts_nobody(
    entrance: TlsEntrance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "not-hashed.pem").write_bytes(entrance.certificate.read_bytes())
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert failure_at(entrance.url).endswith(
        "; SSL_CERT_DIR must name the certificates that prove it: the administrator sets it by "
        "--env:SSL_CERT_DIR= in plugstack.conf"
    )


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_are_read_at_once(entrance: TlsEntrance, tmp_path: Path, name: str) -> None:
    """Later the process is another user's, who need not be able to read them."""
    certificate = tmp_path / "0a1b2c3d.0"
    certificate.write_bytes(entrance.certificate.read_bytes())
    value = str(certificate) if name == "SSL_CERT_FILE" else f"{tmp_path}:{tmp_path}"
    with HttpClient(Deadline(20)) as http:
        http.open_with({name: value})
        certificate.unlink()
        url = f"{entrance.url}/_simulator/state"
        assert http.request("GET", url, headers={}, is_repeatable=True).status == 200


def test_broken_file_in_a_folder_takes_nothing_from_the_others(
    entrance: TlsEntrance, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "0a1b2c3d.0").write_text("broken")
    (tmp_path / "0a1b2c3d.1").symlink_to("nowhere")
    (tmp_path / "0a1b2c3d.2").write_bytes(entrance.certificate.read_bytes())
    assert status_of(entrance.url, {"SSL_CERT_DIR": str(tmp_path)}) == 200
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert [text.partition(": ")[2].partition(":")[0] for text in warnings] == [
        f"{tmp_path}/0a1b2c3d.0 is left out",
        f"{tmp_path}/0a1b2c3d.1 is left out",
    ]


def test_what_are_no_certificates_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"text")
    of_file = "cannot be read as certificates ({}): give the path of a file in PEM format"
    for name, path, text in (
        ("SSL_CERT_FILE", "/dev/null", of_file.format("no certificate")),
        ("SSL_CERT_FILE", tmp_path / "text", of_file.format("no certificate")),
        ("SSL_CERT_FILE", tmp_path, of_file.format("is a directory")),
        ("SSL_CERT_FILE", "/missing.pem", of_file.format("no such file or directory")),
        ("SSL_CERT_DIR", "/missing", "cannot be read (no such file or directory)"),
    ):
        open_with = HttpClient(Deadline(20)).open_with
        _, told = failure_of(partial(open_with, {name: str(path)}))
        assert told == f"cannot prepare requests: {name}: {path} {text}"


OF_THE_SITE = "name the site's certificates by --env:SSL_CERT_FILE= in plugstack.conf"


def let_system_have(monkeypatch: pytest.MonkeyPatch, file: Path, folder: Path) -> None:
    """Let OpenSSL have been built to look for certificates there."""
    known = SimpleNamespace(openssl_cafile=str(file), openssl_capath=str(folder))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: known)


def test_systems_certificates_are_trusted_if_no_variable_names_others(
    entrance: TlsEntrance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # What an administrator has added to the folder is not all of the system.
    (tmp_path / "0a1b2c3d.0").touch()
    let_system_have(monkeypatch, entrance.certificate, tmp_path)
    assert status_of(entrance.url, {}) == 200
    with monkeypatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", "/nowhere")
        assert status_of(entrance.url, {"SSL_CERT_FILE": ""}) == 200
    # As many as a system has are enough, and its file is not read.
    for number in range(1, 100):
        (tmp_path / f"0a1b2c3d.{number}").touch()
    assert failure_at(entrance.url).endswith(f"; if it is the site's own, {OF_THE_SITE}")


def test_what_to_do_about_an_unknown_certificate(
    entrance: TlsEntrance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "0a1b2c3d.0").touch()
    beginning = f"cannot connect to {entrance.url}: its certificate is not trusted ("
    for folder, advice in {
        tmp_path: "; if it is the site's own, ",
        tmp_path / "missing": "; this system has none: install ca-certificates, or ",
    }.items():
        let_system_have(monkeypatch, tmp_path / "missing", folder)
        text = failure_at(entrance.url)
        assert text.startswith(beginning), folder
        assert text.endswith(f"){advice}{OF_THE_SITE}"), folder


def test_certificate_that_no_authority_can_prove_needs_no_other_one() -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = 66, "EE certificate key too weak"
    assert connection_reason(error, "unwanted") == (
        "its certificate is not trusted (EE certificate key too weak); tell who runs the service"
    )


def test_service_that_does_not_speak_tls_is_asked_once() -> None:
    with listening(lambda connection: connection.sendall(b"no TLS at all"), []) as port:
        url = f"https://127.0.0.1:{port}"
        assert failure_at(url) == (
            f"cannot connect to {url}: TLS: wrong version number: does it speak http:// only? "
            "check the URL"
        )


def test_other_trouble_with_tls_is_readable() -> None:
    alert = b"\x15\x03\x03\x00\x02\x02\x28"
    with listening(lambda connection: connection.sendall(alert), []) as port:
        _, text = failure_of(lambda: status_of(f"https://127.0.0.1:{port}", {}))
    assert ": TLS: " in text
    assert "http://" not in text
