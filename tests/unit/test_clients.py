# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of resource types, and what all clients share."""

import ast
from pathlib import Path

import pytest

import spank_qrmi.clients
from spank_qrmi.clients import CLIENTS, type_number
from spank_qrmi.clients.base import path_segment
from spank_qrmi.errors import AcquisitionError
from spank_qrmi.redaction import is_secret_name
from tests.unit.fake_services import API_KEY, ibm_values, settings_of
from tests.unit.outcomes import trying

VALUES = {**ibm_values("QRMI_IBM_DA_"), **ibm_values("QRMI_IBM_QRS_")}


def test_types_keep_their_numbers() -> None:
    numbers = {"direct-access": 0, "qiskit-runtime-service": 1, "pasqal-cloud": 2}
    assert {type_name: type_number(type_name) for type_name in numbers} == numbers


@pytest.mark.parametrize("type_name", ["", "Direct-Access", "ibm-quantum-system"])
def test_unknown_types_have_no_number(type_name: str) -> None:
    with pytest.raises(KeyError):
        type_number(type_name)


@pytest.mark.parametrize("type_name", CLIENTS)
def test_every_client_is_made_without_a_request_and_says_where_credentials_go(
    type_name: str,
) -> None:
    client_class = CLIENTS[type_name]
    client = client_class(settings_of(VALUES))
    assert callable(client.release)
    for endpoint_key, credential_keys in client_class.sent_to.items():
        assert endpoint_key.startswith("QRMI_")
        assert endpoint_key.endswith(("ENDPOINT", "BASE_URL"))
        assert all(is_secret_name(key) for key in credential_keys)


def test_where_each_credential_goes() -> None:
    sent_to = {name: dict(each.sent_to) for name, each in CLIENTS.items()}
    assert sent_to == {
        "direct-access": {
            "QRMI_IBM_DA_IAM_ENDPOINT": ("QRMI_IBM_DA_IAM_APIKEY",),
            "QRMI_IBM_DA_ENDPOINT": ("QRMI_IBM_DA_IAM_APIKEY", "QRMI_IBM_DA_SERVICE_CRN"),
        },
        "qiskit-runtime-service": {
            "QRMI_IBM_QRS_IAM_ENDPOINT": ("QRMI_IBM_QRS_IAM_APIKEY",),
            "QRMI_IBM_QRS_ENDPOINT": (
                "QRMI_IBM_QRS_IAM_APIKEY",
                "QRMI_IBM_QRS_SERVICE_CRN",
                "QRMI_IBM_QRS_SESSION_ID",
                "QRMI_JOB_ACQUISITION_TOKEN",
            ),
        },
        "pasqal-cloud": {"QRMI_PASQAL_CLOUD_BASE_URL": ()},
    }


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize(
    ("library", "modules"),
    [("h11", set()), ("ssl", {"certificates.py"}), ("httpx", {"http.py"}), ("certifi", set())],
)
def test_only_one_module_knows_a_library(library: str, modules: set[str]) -> None:
    paths = Path(spank_qrmi.clients.__file__).parent.glob("*.py")
    assert {path.name for path in paths if library in imported_modules(path)} == modules


BASE_URLS = {
    "https://host": "https://host",
    " HTTP://host:8290/api/v1// ": "HTTP://host:8290/api/v1",
    "http://[::1]:80/x": "http://[::1]:80/x",
    "https://hôte.example/x": "https://hôte.example/x",
}


def test_base_urls() -> None:
    assert {url: settings_of({"K": url}).require_url("K") for url in BASE_URLS} == BASE_URLS


UNUSABLE_URLS = [
    "host",
    "ftp://host",
    "https://",
    "https:///path",
    "https://user:secret@host",
    "https://user@host/x",
    "https://host/?a=b",
    "https://host/#a",
    "https://host:port",
    "https://host:123456",
    "https://ho st",
    "https://host/a b",
    "https://host\\@evil",
    "https://host\n/x",
    "https://host/\u202ex",
]


def test_unusable_base_urls() -> None:
    for url in UNUSABLE_URLS:
        with trying(url):
            with pytest.raises(AcquisitionError, match=r"^ibm_x_K must be a URL") as caught:
                settings_of({"K": url}).require_url("K")
            assert "secret" not in str(caught.value)


def test_path_segment_encodes_everything() -> None:
    assert path_segment("a/b?c#d%\u00e9 ..") == "a%2Fb%3Fc%23d%25%C3%A9%20.."
    assert path_segment("\udcff") == "%FF"


def test_secrets_are_not_in_representations() -> None:
    shown = repr(settings_of(VALUES))
    assert API_KEY not in shown
