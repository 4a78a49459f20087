# SPDX-License-Identifier: GPL-3.0-or-later
"""Over https: only the administrator decides which certificates and proxies the node uses."""

from collections.abc import Iterator

import pytest

from loopback.tls_entrance import TlsEntrance, tls_entrance_to
from tests.slurm.product import Product

NOBODY_LISTENS = "http://127.0.0.1:9"
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture
def entrance(product: Product) -> Iterator[TlsEntrance]:
    """The site by https, as the configuration names it."""
    with tls_entrance_to(product.site.url, product.folder) as entrance:
        entry = product.entry("ibm_sherbrooke")
        entry["environment"] = {
            key: value.replace(product.site.url, entrance.url)
            for key, value in entry["environment"].items()
        }
        product.write_plugstack(config=product.write_config(entry))
        yield entrance
        product.wait_until_released()


def test_users_variables_change_neither_certificates_nor_proxies(
    product: Product, entrance: TlsEntrance
):
    trusted = f"--env:SSL_CERT_FILE={entrance.certificate}"
    product.write_plugstack(trusted, config=product.folder / "qrmi_config.json")
    exported = dict.fromkeys(PROXIES, NOBODY_LISTENS) | dict.fromkeys(CERTIFICATES, "/dev/null")

    result = product.run_job("true", "--qpu=ibm_sherbrooke", env=exported)

    assert (result.state, result.stderr) == ("COMPLETED", "")
    assert product.sessions_served() == ["ibm_sherbrooke"]


def test_user_can_neither_bring_certificates_nor_switch_their_check_off(
    product: Product, entrance: TlsEntrance
):
    exported = dict.fromkeys(CERTIFICATES, str(entrance.certificate)) | {"PYTHONHTTPSVERIFY": "0"}

    result = product.run_job("true", "--qpu=ibm_sherbrooke", env=exported)

    assert result.state == "FAILED"
    assert "its certificate is not trusted" in result.stderr
    assert product.site.requests() == []


def test_certificates_that_others_can_write_fail_the_job(product: Product, entrance: TlsEntrance):
    entrance.certificate.chmod(0o666)
    trusted = f"--env:SSL_CERT_FILE={entrance.certificate}"
    product.write_plugstack(trusted, config=product.folder / "qrmi_config.json")

    result = product.run_job("true", "--qpu=ibm_sherbrooke")

    assert result.state == "FAILED"
    assert f"{entrance.certificate}: must be writable by its owner alone" in result.stderr
