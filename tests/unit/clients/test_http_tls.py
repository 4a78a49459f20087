# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates are always verified; only the administrator's variables say against which."""

import re
import ssl
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from loopback.tls_entrance import TlsEntrance, tls_entrance_to
from spank_qrmi.clients.certificates import connection_reason
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.deadline import Deadline
from tests.unit.fake_services import RecordingDeadline, failure_of
from tests.unit.scripted_server import listening

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")

OF_USERS = {
    "REQUESTS_CA_BUNDLE": "",
    "CURL_CA_BUNDLE": "",
    "PYTHONHTTPSVERIFY": "0",
    "SSL_VERIFY": "false",
}


def status_of(url: str, environment: dict[str, str]) -> int:
    with HttpClient(Deadline(20)) as http:
        http.open_with(environment)
        return http.request(
            "GET", f"{url}/_simulator/state", headers={}, is_repeatable=True, max_tries=1
        ).status


def test_administrators_certificates_are_trusted(entrance: TlsEntrance) -> None:
    assert status_of(entrance.url, {"SSL_CERT_FILE": str(entrance.certificate)}) == 200


@pytest.mark.parametrize("name", [None, *OF_USERS])
def test_unknown_certificate_is_refused_whatever_else_is_set(
    entrance: TlsEntrance, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    if name is not None:
        monkeypatch.setenv(name, OF_USERS[name] or str(entrance.certificate))
    _, text = failure_of(lambda: status_of(entrance.url, {}))
    assert "its certificate is not trusted" in text


def test_unknown_certificate_is_no_reason_to_ask_again(entrance: TlsEntrance) -> None:
    deadline = RecordingDeadline()
    with HttpClient(deadline) as http:
        failure_of(lambda: http.request("GET", entrance.url, headers={}, is_repeatable=True))
    assert deadline.waits == []


def test_certificate_of_another_host_is_refused(entrance: TlsEntrance) -> None:
    url = entrance.url.replace("127.0.0.1", "localhost")
    trusted = {"SSL_CERT_FILE": str(entrance.certificate), "no_proxy": "localhost"}
    _, text = failure_of(lambda: status_of(url, trusted))
    assert text == (
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
        trusted = {"SSL_CERT_FILE": str(entrance.certificate)}
        _, text = failure_of(lambda: status_of(entrance.url, trusted))
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
    _, text = failure_of(lambda: status_of(entrance.url, {}))
    assert text.endswith(
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


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "no certificate"), (b"text", "no certificate"), (None, "is a directory")],
)
def test_file_that_is_none_of_certificates(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "file"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with HttpClient(Deadline(20)) as http:
        _, text = failure_of(lambda: http.open_with({"SSL_CERT_FILE": str(path)}))
    assert text == (
        f"cannot prepare requests: SSL_CERT_FILE: {path} cannot be read as certificates "
        f"({reason}): give the path of a file in PEM format"
    )


OF_THE_SITE = "name the site's certificates by --env:SSL_CERT_FILE= in plugstack.conf"


class Defaults(NamedTuple):
    """Where OpenSSL was built to look."""

    openssl_cafile: str
    openssl_capath: str


def test_folder_of_the_system_is_enough(
    entrance: TlsEntrance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for number in range(100):
        (tmp_path / f"0a1b2c3d.{number}").touch()
    known = Defaults(str(entrance.certificate), str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: known)
    _, text = failure_of(lambda: status_of(entrance.url, {}))
    assert text.endswith(f"; if it is the site's own, {OF_THE_SITE}")


def test_what_an_administrator_has_added_to_the_folder_is_not_all_of_the_system(
    entrance: TlsEntrance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "0a1b2c3d.0").touch()
    known = Defaults(str(entrance.certificate), str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: known)
    assert status_of(entrance.url, {}) == 200


def test_systems_certificates_are_trusted_if_no_variable_names_others(
    entrance: TlsEntrance, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Defaults(str(entrance.certificate), "/nowhere")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: known)
    assert status_of(entrance.url, {}) == 200
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    assert status_of(entrance.url, {"SSL_CERT_FILE": ""}) == 200


@pytest.mark.parametrize(
    ("has_some", "advice"),
    [
        (True, f"; if it is the site's own, {OF_THE_SITE}"),
        (False, f"; this system has none: install ca-certificates, or {OF_THE_SITE}"),
    ],
)
def test_what_to_do_about_an_unknown_certificate(
    entrance: TlsEntrance,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    has_some: bool,
    advice: str,
) -> None:
    if has_some:
        (tmp_path / "0a1b2c3d.0").touch()
    known = Defaults("/nowhere", str(tmp_path if has_some else tmp_path / "missing"))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: known)
    _, text = failure_of(lambda: status_of(entrance.url, {}))
    assert text.startswith(f"cannot connect to {entrance.url}: its certificate is not trusted (")
    assert text.endswith(f"){advice}")


def test_certificate_that_no_authority_can_prove_needs_no_other_one() -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = 66, "EE certificate key too weak"
    assert connection_reason(error, "unwanted") == (
        "its certificate is not trusted (EE certificate key too weak); tell who runs the service"
    )


def test_service_that_does_not_speak_tls_is_asked_once() -> None:
    deadline = RecordingDeadline()
    with (
        listening(lambda connection: connection.sendall(b"no TLS at all"), []) as port,
        HttpClient(deadline) as http,
    ):
        url = f"https://127.0.0.1:{port}"
        _, text = failure_of(lambda: http.request("GET", url, headers={}, is_repeatable=True))
    assert text == (
        f"cannot connect to {url}: TLS: wrong version number: does it speak http:// only? check "
        "the URL"
    )
    assert deadline.waits == []


def test_other_trouble_with_tls_is_readable() -> None:
    alert = b"\x15\x03\x03\x00\x02\x02\x28"
    with listening(lambda connection: connection.sendall(alert), []) as port:
        _, text = failure_of(lambda: status_of(f"https://127.0.0.1:{port}", {}))
    assert ": TLS: " in text
    assert "http://" not in text
