# SPDX-License-Identifier: GPL-3.0-or-later
"""Over https: only the administrator decides which certificates and proxies the node uses."""

from loopback.tls_entrance import tls_entrance_to
from tests.slurm.product import Product

NOBODY_LISTENS = "http://127.0.0.1:9"
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def test_users_variables_change_neither_certificates_nor_proxies(product: Product):
    with tls_entrance_to(product.site.url, product.folder) as entrance:
        entry = product.entry("ibm_sherbrooke")
        entry["environment"] = {
            key: value.replace(product.site.url, entrance.url)
            for key, value in entry["environment"].items()
        }
        config = product.write_config(entry)
        product.write_plugstack(config=config)
        # What the site does not trust, the user cannot bring, nor switch its check off.
        exported = dict.fromkeys(CERTIFICATES, str(entrance.certificate))
        exported |= {"PYTHONHTTPSVERIFY": "0"}
        refused = product.run_job("true", "--qpu=ibm_sherbrooke", env=exported)
        assert refused.state == "FAILED"
        assert "its certificate is not trusted" in refused.stderr
        assert product.site.requests() == []

        product.write_plugstack(f"--env:SSL_CERT_FILE={entrance.certificate}", config=config)
        exported = dict.fromkeys(PROXIES, NOBODY_LISTENS) | dict.fromkeys(CERTIFICATES, "/dev/null")
        result = product.run_job("true", "--qpu=ibm_sherbrooke", env=exported)
        assert (result.state, result.stderr) == ("COMPLETED", "")
        assert product.sessions_served() == ["ibm_sherbrooke"]
