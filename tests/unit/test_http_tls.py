# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates are always verified; only the administrator's variables say against which."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.tls_entrance import TlsEntrance, tls_entrance_to
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.deadline import Deadline
from tests.unit.fake_services import failure_of

OF_USERS = {
    "REQUESTS_CA_BUNDLE": "",
    "CURL_CA_BUNDLE": "",
    "PYTHONHTTPSVERIFY": "0",
    "SSL_VERIFY": "false",
}


@pytest.fixture(scope="module")
def entrance(base_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsEntrance]:
    with tls_entrance_to(base_url, tmp_path_factory.mktemp("tls")) as entrance:
        yield entrance


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


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


def test_certificate_of_another_host_is_refused(entrance: TlsEntrance) -> None:
    url = entrance.url.replace("127.0.0.1", "localhost")
    trusted = {"SSL_CERT_FILE": str(entrance.certificate), "no_proxy": "localhost"}
    _, text = failure_of(lambda: status_of(url, trusted))
    assert "its certificate is not trusted" in text


def test_folder_without_certificates_trusts_nobody(
    entrance: TlsEntrance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    _, text = failure_of(lambda: status_of(entrance.url, {}))
    assert "its certificate is not trusted" in text
