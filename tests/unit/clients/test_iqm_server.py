# SPDX-License-Identifier: GPL-3.0-or-later
"""IQM Server: the one question, the documents of its generations, and what each answer means."""

import logging

import httpx
import pytest

from spank_qrmi.clients.iqm_server import IqmServer
from spank_qrmi.errors import AcquisitionError, ServiceError
from tests.unit.fake_services import API_KEY, API_URL, FakeService, reply, settings_of, text_of
from tests.unit.local_network import asking

PATH = "/base/api/v1/quantum-computers/"
GET = f"GET {PATH}garnet:mock"
SOURCE = f"https://api.test:443{PATH}garnet:mock"
UPDATED = "2026-11-01T08:00:00Z"
HEALTHY = {"healthy": True, "updated_at": UPDATED}

pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


def client_of(answer: httpx.Response, name: str = "garnet_mock", path: str = GET) -> asking:
    values = {"QRMI_IQM_ISA_ENDPOINT": API_URL, "QRMI_IQM_ISA_TOKEN": API_KEY}
    return asking(IqmServer(settings_of(values, name)), FakeService({path: answer}).http())


def refusal_of(answer: httpx.Response) -> str:
    with pytest.raises(AcquisitionError) as caught:
        client_of(answer).check_accessible()
    return text_of(caught.value)


@pytest.mark.parametrize(
    ("name", "path"),
    [("garnet", "garnet"), ("my_qc_mock", "my_qc:mock"), ("a:b", "a:b"), ("a/b_c", "a%2Fb:c")],
)
def test_last_underscore_of_its_name_is_a_colon(name: str, path: str) -> None:
    client_of(reply(json={"health": HEALTHY}), name, f"GET {PATH}{path}").check_accessible()


def test_token_is_sent_as_it_is() -> None:
    service = FakeService({GET: reply(json={"health": HEALTHY})})
    values = {"QRMI_IQM_ISA_ENDPOINT": API_URL, "QRMI_IQM_ISA_TOKEN": f" {API_KEY} "}
    asking(IqmServer(settings_of(values, "garnet_mock")), service.http()).check_accessible()
    assert [each.headers["authorization"] for each in service.requests] == [f"Bearer {API_KEY}"]


@pytest.mark.parametrize(
    "document",
    [
        {"id": "x", "alias": "garnet", "queue_length": 2, "health": HEALTHY},
        {"operational": "online", "health": HEALTHY, "queue_length": None},
        {"operational_status": "online", "health": {"healthy": True}},
        {"operational": None, "operational_status": "online", "health": HEALTHY},
        {"status": {"health": HEALTHY}},
        {"status": {"health": HEALTHY}, "health": None},
        {"status": "anything", "health": HEALTHY},
    ],
)
def test_healthy_quantum_computer_is_accessible(document: object) -> None:
    client_of(reply(json=document)).check_accessible()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            {"operational": "maintenance", "health": None, "queue_length": 3},
            "the quantum computer's state is maintenance (waiting jobs 3)",
        ),
        (
            {"operational_status": "off\nline", "health": HEALTHY},
            f"the quantum computer's state is off?line (as of {UPDATED})",
        ),
        ({"operational": True}, "the quantum computer's state is not given"),
        (
            {"health": None},
            "the service tells no health of the quantum computer, as during maintenance",
        ),
        (
            {"status": []},
            "the service tells no health of the quantum computer, as during maintenance",
        ),
        (
            {"health": {"healthy": False, "updated_at": UPDATED}},
            f"the quantum computer is not healthy (as of {UPDATED})",
        ),
        ({"health": {"healthy": "true"}}, "the quantum computer is not healthy"),
    ],
)
def test_quantum_computer_that_is_not_accessible_has_a_reason(
    document: object, expected: str
) -> None:
    assert refusal_of(reply(json=document)) == f"not accessible: {expected}"


def test_what_an_accessible_one_tells_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client_of(reply(json={"health": HEALTHY, "queue_length": 4})).check_accessible()
    expected = f"name(garnet_mock): accessible: waiting jobs 4, as of {UPDATED}"
    assert expected in caplog.messages


def refused(status: int, code: object, message: str) -> httpx.Response:
    return reply(status, {"error_code": code, "message": message, "request_id": "r", "details": {}})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            refused(401, "unauthorized", f"bad {API_KEY}"),
            f"{SOURCE} answered 401 Unauthorized: bad **** (unauthorized); check "
            "garnet_mock_QRMI_IQM_ISA_TOKEN",
        ),
        (
            refused(403, "forbidden", "no"),
            f"{SOURCE} answered 403 Forbidden: no (forbidden); what "
            "garnet_mock_QRMI_IQM_ISA_TOKEN holds may not use the resource",
        ),
        (
            refused(404, "qc_not_found", "no"),
            f"{SOURCE} answered 404 Not Found: no (qc_not_found); the service has no resource of "
            "this name, or garnet_mock_QRMI_IQM_ISA_ENDPOINT is not its address",
        ),
        (
            refused(403, "timeslot_required", "book"),
            "busy: it is reserved for those who have booked a timeslot: "
            f"{SOURCE} answered 403 Forbidden: book (timeslot_required)",
        ),
        (
            refused(403, "no_booked_timeslots", "book"),
            "busy: it is reserved, and no timeslot of yours is booked now: "
            f"{SOURCE} answered 403 Forbidden: book (no_booked_timeslots)",
        ),
        (
            refused(403, "not_enough_credits", "pay"),
            "not accessible: the account has not enough credits: "
            f"{SOURCE} answered 403 Forbidden: pay (not_enough_credits)",
        ),
        (reply(400, []), f"{SOURCE} answered 400 Bad Request"),
        (refused(400, ["a"], "odd"), f"{SOURCE} answered 400 Bad Request: odd"),
    ],
)
def test_refusal_is_told_in_the_services_words(answer: httpx.Response, expected: str) -> None:
    assert refusal_of(answer) == expected


@pytest.mark.parametrize("answer", [reply(200, []), httpx.Response(200, text="x"), reply(502)])
def test_unusable_answers_are_the_services_errors(answer: httpx.Response) -> None:
    with pytest.raises(ServiceError) as caught:
        client_of(answer).check_accessible()
    text_of(caught.value)
