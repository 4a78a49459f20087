# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of resource types, and what all clients share."""

import json
import re
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx

import spank_qrmi.clients
from loopback.installation import REPOSITORY
from spank_qrmi.clients import CLIENTS, keys_alike, other_names, unread_text
from spank_qrmi.clients.base import ReadTo, path_segment
from spank_qrmi.errors import AcquisitionError, QrmiError, ServiceError
from spank_qrmi.redaction import is_secret_name
from tests.unit.fake_services import SECRETS, FakeService, complaint, reply, settings_of
from tests.unit.outcomes import trying
from tests.unit.vendors import (
    ALICE_BOB_FELIS,
    HOLDERS,
    KEYS_OF_USERS,
    TOKEN,
    VENDORS,
    Vendor,
    each_of,
)

each_vendor = each_of(VENDORS)


def test_types_keep_their_numbers() -> None:
    types = [each.type_name for each in VENDORS]
    assert types == list(CLIENTS), "the rows of tests/unit/vendors.py"


@each_vendor
def test_where_each_credential_goes(vendor: Vendor) -> None:
    sent_to = vendor.client().sent_to
    assert sent_to == vendor.sent_to
    for endpoint_key, credential_keys in sent_to.items():
        assert endpoint_key.startswith("QRMI_")
        assert endpoint_key.endswith(("ENDPOINT", "URL"))
        assert all(is_secret_name(key) for key in credential_keys)
        # These are what tests look for where no secret may be.
        values = vendor.settings.values
        assert {values[key] for key in values.keys() & {*credential_keys}} <= {*SECRETS}


@each_vendor
def test_each_step_asks_what_it_must_and_no_more(vendor: Vendor) -> None:
    client = vendor.client()

    def asked_by(step: str, *arguments: str) -> tuple[list[str], Any]:
        service = vendor.service()
        result = getattr(client, step)(service.exchange(), *arguments)
        return sorted(service.asked), result

    assert asked_by("check_accessible") == (sorted(vendor.check), None)
    asked, status = asked_by("full_status")
    assert set(asked) >= set(vendor.check)
    assert status.is_online
    asked, token = asked_by("acquire")
    assert asked == sorted(vendor.acquire)
    assert asked_by("release", token) == (
        sorted(vendor.release),
        vendor.ends_at_once or not vendor.release,
    )
    assert (client.hold is not None) == vendor.holds
    if client.hold is None:
        assert uuid.UUID(token).version == 4
        assert asked_by("acquire")[1] != token


@each_vendor
def test_keys_are_all_that_it_reads(vendor: Vendor) -> None:
    values = Mock(wraps=vendor.settings.values)
    client = CLIENTS[vendor.type_name](replace(vendor.settings, values=values))
    client.acquire(vendor.service().exchange())
    keys_read = {each.args[0] for each in values.get.call_args_list}
    assert keys_read == {key for key, use in client.keys.items() if use is not ReadTo.RUN}
    assert set(vendor.program_keys) <= set(client.keys)
    assert set(vendor.sent_to) | set(vendor.required) <= set(client.keys)


@each_of(HOLDERS)
def test_release_needs_the_keys_for_it_and_no_other(vendor: Vendor) -> None:
    kept = {key for key, use in vendor.client().keys.items() if use is ReadTo.RELEASE}
    values = {key: vendor.settings.values[key] for key in kept & {*vendor.required}}
    service = vendor.service()
    client = CLIENTS[vendor.type_name](replace(vendor.settings, values=values))
    client.release(service.exchange(), TOKEN)
    assert set(service.asked) == set(vendor.release)


@each_vendor
def test_settings_that_are_missing_or_cannot_be_sent_are_named(vendor: Vendor) -> None:
    settings = vendor.settings
    for key in vendor.required:
        others = {name: value for name, value in settings.values.items() if name != key}
        form = "must be a URL" if key in vendor.sent_to else "must be plain ASCII"
        for values, text in (
            (others, "is not set: add"),
            ({**others, key: "  "}, "is set to nothing"),
            ({**others, key: "bad\nvalue"}, form),
            ({**others, key: "bäd value"}, form),
        ):
            changed_settings = replace(settings, values=values)
            told = complaint(AcquisitionError, CLIENTS[vendor.type_name], changed_settings)
            assert told.startswith(f"{settings.variable(key)} {text}"), key


@each_vendor
def test_document_says_what_each_variable_is_for(vendor: Vendor) -> None:
    document = (REPOSITORY / "docs" / "administration.md").read_text()
    rows = re.findall(rf"(?m)^\| `{vendor.type_name}` \|(.*QRMI_.*)\|$", document)
    assert len(rows) == 1, "docs/administration.md has one row of variables for each type"
    needed, optional, of_programs = (
        re.findall(r"`([A-Z\d]+_[A-Z\d_]+)`", column) for column in rows[0].split("|")
    )
    of_users = {key for key, use in vendor.client().keys.items() if use is ReadTo.RUN}
    assert needed == [*vendor.required]
    assert {*optional} == {*vendor.client().keys} - {*needed} - of_users - KEYS_OF_USERS
    assert {*of_programs} == of_users


def test_example_has_what_each_type_needs() -> None:
    document = json.loads((REPOSITORY / "qrmi_config.json.example").read_bytes())
    filled_in = [each for each in document["resources"] if each["environment"]]
    types = [each["type"] for each in filled_in]
    assert types == list(CLIENTS), "the entries of qrmi_config.json.example"
    for entry, vendor in zip(filled_in, VENDORS, strict=True):
        assert entry["environment"].keys() >= {*vendor.required}, vendor.type_name
        assert unread_text(entry["type"], entry["environment"]) == ""


def test_keys_that_nothing_reads_are_told_with_the_nearest_known_one() -> None:
    meant = {
        ("qiskit-runtime-service", "QRMI_IBM_QCS_ENDPOINTS"): "QRMI_IBM_QRS_ENDPOINT",
        ("ibm-quantum-compute-service", "QRMI_IBM_QCS_MAX_TTL"): "QRMI_IBM_QCS_SESSION_MAX_TTL",
        ("direct-access", "IBM_DA_ENDPOINT"): "QRMI_IBM_DA_ENDPOINT",
        ("direct-access", "QRMI_IBM_DA_ENDPOINT "): "QRMI_IBM_DA_ENDPOINT",
    }
    for (type_name, key), nearest in meant.items():
        assert unread_text(type_name, [key]) == f"nothing reads {key} (is it {nearest}?)", key
    for type_name, key, owner in (
        ("qiskit-runtime-service", "QRMI_IBM_QCS_ENDPOINT", "ibm-quantum-compute-service"),
        ("ibm-quantum-system", "QRMI_IBM_DA_SERVICE_CRN", "direct-access"),
    ):
        assert unread_text(type_name, [key]) == f"nothing reads {key} (of type {owner})"
    assert unread_text("pasqal-cloud", ["QRMI_X\n"]) == "nothing reads QRMI_X?"
    for type_name, client in CLIENTS.items():
        keys = [*client.keys, "QRMI_JOB_ACQUISITION_TOKEN", "QRMI_JOB_TIMEOUT_SECONDS", "MY_OWN"]
        assert unread_text(type_name, keys) == "", type_name


def test_names_of_one_service_know_each_other_and_mean_the_same_by_their_keys() -> None:
    pairs = [
        ("direct-access", "ibm-quantum-system"),
        ("qiskit-runtime-service", "ibm-quantum-compute-service"),
    ]
    others = {name: [other] for pair in pairs for name, other in (pair, pair[::-1])}
    assert {name: other_names(name) for name in CLIENTS if other_names(name)} == others
    alike = keys_alike("direct-access", ["ibm-quantum-system"])
    assert alike["QRMI_IBM_QS_IAM_APIKEY"] == "QRMI_IBM_DA_IAM_APIKEY"
    assert alike["QRMI_IBM_QS_S3_ENDPOINT_FOR_QSAPI"] == "QRMI_IBM_DA_S3_ENDPOINT_FOR_DAAPI"
    for name, [other] in others.items():
        alike = keys_alike(name, [other])
        assert {*alike.values()} == {*CLIENTS[name].keys} - {*CLIENTS[other].keys}
        for key, own_key in alike.items():
            last_word = own_key.rpartition("_")[2].replace("DAAPI", "QSAPI")
            assert key.rpartition("_")[2].replace("DAAPI", "QSAPI") == last_word
            assert CLIENTS[other].keys[key] is CLIENTS[name].keys[own_key]


@each_vendor
def test_answer_of_no_such_service_names_where_the_address_stands(vendor: Vendor) -> None:
    documents = {each: reply(json=document) for each, document in vendor.check.items()}
    variable = vendor.settings.variable(vendor.endpoint_key)

    def told_of(answer: httpx.Response | Exception, kind: type[QrmiError] = ServiceError) -> str:
        service = FakeService({**documents, next(iter(documents)): answer})
        return complaint(kind, vendor.client().check_accessible, service.exchange())

    page = b"<html>welcome</html>"
    assert told_of(httpx.Response(200, content=page)).endswith(f" is not JSON; check {variable}")
    for answer in (reply(502), httpx.ReadError("reset")):
        told_of(answer)
    # Its health is a text, and a service may have none of the addresses that are asked for.
    if vendor is not ALICE_BOB_FELIS:
        assert " is not a JSON object" in told_of(reply(200, []))
        text = told_of(httpx.Response(404, content=page), QrmiError)
        assert " answered 404 Not Found" in text
        assert variable in text


def test_only_one_module_knows_a_library_or_the_vendors() -> None:
    imports = {
        path.stem: set(re.findall(r"(?m)^ *(?:from|import) ([\w.]+)", path.read_text()))
        for path in Path(spank_qrmi.clients.__file__).parent.glob("*.py")
    }

    def who_knows(*modules: str) -> set[str]:
        beginnings = tuple(f"{module}." for module in modules)
        return {
            name
            for name, imported in imports.items()
            if any(f"{each}.".startswith(beginnings) for each in imported)
        }

    libraries: dict[str, set[str]] = {"h11": set(), "ssl": {"certificates"}}
    libraries |= {"httpx": {"http"}, "certifi": set()}
    assert {library: who_knows(library) for library in libraries} == libraries
    assert who_knows(*(each.__module__ for each in CLIENTS.values())) == {"__init__"}
    # What every client is given knows no login of a vendor.
    modules = {f"{spank_qrmi.clients.__name__}.{name}": name for name in imports}
    for name, beside in (
        ("base", {"http", "request", "tokens"}),
        ("tokens", {"http", "request", "response"}),
    ):
        assert {modules[each] for each in imports[name] & {*modules}} == beside


def test_base_urls() -> None:
    usable = {
        "https://host": "https://host",
        " HTTP://host:8290/api/v1// ": "HTTP://host:8290/api/v1",
        "http://[::1]:80/x": "http://[::1]:80/x",
        "https://h\u00f4te.example/x": "https://h\u00f4te.example/x",
    }
    assert {url: settings_of({"K": url}).require_url("K") for url in usable} == usable
    for url in (
        *("host", "ftp://host", "https://", "https:///path", "https://user:secret@host"),
        *("https://user@host/x", "https://host/?a=b", "https://host/#a", "https://host:port"),
        *("https://host:123456", "https://host:/", "https://:80", "https:/host", "https://[::1"),
        *("https://ho st", "https://host\0/", "https://host/a b", "https://host\\@evil"),
        *("https://host\n/x", "https://host/\u202ex"),
    ):
        with trying(url):
            text = complaint(AcquisitionError, settings_of({"K": url}).require_url, "K")
            assert text.startswith("ibm_x_K must be a URL")
            assert "secret" not in text


def test_path_segment_encodes_everything_and_leads_to_no_other_path() -> None:
    assert path_segment("a/b?c#d%\u00e9 ..") == "a%2Fb%3Fc%23d%25%C3%A9%20.."
    assert path_segment("\udcff") == "%FF"
    for name in ("", ".", ".."):
        text = complaint(AcquisitionError, path_segment, name)
        assert text == f"{name!r} cannot be the name of a resource"
