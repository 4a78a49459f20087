# SPDX-License-Identifier: GPL-3.0-or-later
"""IQM Server: the one question, the documents of its generations, and what each answer means."""

import httpx
import pytest

from spank_qrmi.clients.iqm_server import IqmServer
from spank_qrmi.errors import AcquisitionError
from tests.unit.fake_services import API_KEY, FakeService, complaint, reply
from tests.unit.local_network import asking
from tests.unit.outcomes import trying
from tests.unit.vendors import IQM_SERVER, changed

PATH = "/base/api/v1/quantum-computers/"
GET = f"GET {PATH}garnet:mock"
ANSWERED = f"https://api.test:443{PATH}garnet:mock answered"
UPDATED = "2026-11-01T08:00:00Z"
HEALTHY = {"healthy": True, "updated_at": UPDATED}
NO_HEALTH = "the service tells no health of the quantum computer, as during maintenance"


def client_of(service: FakeService, name: str = "garnet_mock", **values: str) -> asking:
    return asking(IqmServer(changed(IQM_SERVER, name, **values)), service.http())


def refusal_of(answer: httpx.Response) -> str:
    return complaint(AcquisitionError, client_of(FakeService({GET: answer})).check_accessible)


def test_last_underscore_of_its_name_is_a_colon() -> None:
    paths = {"garnet": "garnet", "my_qc_mock": "my_qc:mock", "a:b": "a:b", "a/b_c": "a%2Fb:c"}
    for name, path in paths.items():
        with trying(name):
            service = FakeService({f"GET {PATH}{path}": reply(json={"health": HEALTHY})})
            client_of(service, name).check_accessible()


def test_token_is_sent_as_it_is() -> None:
    service = FakeService({GET: reply(json={"health": HEALTHY})})
    client_of(service, QRMI_IQM_ISA_TOKEN=f" {API_KEY} ").check_accessible()
    assert [each.headers["authorization"] for each in service.requests] == [f"Bearer {API_KEY}"]


def test_healthy_quantum_computer_is_accessible() -> None:
    for document in (
        {"id": "x", "alias": "garnet", "queue_length": 2, "health": HEALTHY},
        {"operational": "online", "health": HEALTHY, "queue_length": None},
        {"operational_status": "online", "health": {"healthy": True}},
        {"operational": None, "operational_status": "online", "health": HEALTHY},
        {"status": {"health": HEALTHY}},
        {"status": {"health": HEALTHY}, "health": None},
        {"status": "anything", "health": HEALTHY},
    ):
        with trying(document):
            client_of(FakeService({GET: reply(json=document)})).check_accessible()


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
        ({"health": None}, NO_HEALTH),
        ({"status": []}, NO_HEALTH),
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
    service = FakeService({GET: reply(json={"health": HEALTHY, "queue_length": 4})})
    client_of(service).check_accessible()
    assert f"name(garnet_mock): accessible: waiting jobs 4, as of {UPDATED}" in caplog.messages


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (
            *(401, "unauthorized", f"bad {API_KEY}"),
            f"{ANSWERED} 401 Unauthorized: bad **** (unauthorized); check "
            "garnet_mock_QRMI_IQM_ISA_TOKEN",
        ),
        (
            *(403, "forbidden", "no"),
            f"{ANSWERED} 403 Forbidden: no (forbidden); what garnet_mock_QRMI_IQM_ISA_TOKEN holds "
            "may not use the resource",
        ),
        (
            *(404, "qc_not_found", "no"),
            f"{ANSWERED} 404 Not Found: no (qc_not_found); the service has no resource of this "
            "name, or garnet_mock_QRMI_IQM_ISA_ENDPOINT is not its address",
        ),
        (
            *(403, "timeslot_required", "book"),
            "busy: it is reserved for those who have booked a timeslot: "
            f"{ANSWERED} 403 Forbidden: book (timeslot_required)",
        ),
        (
            *(403, "no_booked_timeslots", "book"),
            "busy: it is reserved, and no timeslot of yours is booked now: "
            f"{ANSWERED} 403 Forbidden: book (no_booked_timeslots)",
        ),
        (
            *(403, "not_enough_credits", "pay"),
            "not accessible: the account has not enough credits: "
            f"{ANSWERED} 403 Forbidden: pay (not_enough_credits)",
        ),
        (400, ["a"], "odd", f"{ANSWERED} 400 Bad Request: odd"),
    ],
)
def test_refusal_is_told_in_the_services_words(
    status: int, code: object, message: str, expected: str
) -> None:
    document = {"error_code": code, "message": message, "request_id": "r", "details": {}}
    assert refusal_of(reply(status, document)) == expected


def test_refusal_without_words_is_told_by_its_status() -> None:
    assert refusal_of(reply(400, [])) == f"{ANSWERED} 400 Bad Request"
