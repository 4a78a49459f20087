# SPDX-License-Identifier: GPL-3.0-or-later
"""IQM Server: the one question, the documents of its generations, and what each answer means."""

from http import HTTPStatus

import pytest

from tests.unit.fake_services import API_KEY, FakeService, reply
from tests.unit.outcomes import trying
from tests.unit.vendors import IQM_SERVER, asking_at, refusal_by

PATH = "/base/api/v1/quantum-computers/"
GET = f"GET {PATH}garnet:mock"
ANSWERED = f"https://api.test:443{PATH}garnet:mock answered"
UPDATED = "2026-11-01T08:00:00Z"
HEALTHY = {"healthy": True, "updated_at": UPDATED}
ENDPOINT, TOKEN = "garnet_mock_QRMI_IQM_ISA_ENDPOINT", "garnet_mock_QRMI_IQM_ISA_TOKEN"
NO_HEALTH = "the service tells no health of the quantum computer, as during maintenance"


def test_last_underscore_of_its_name_is_a_colon() -> None:
    paths = {"garnet": "garnet", "my_qc_mock": "my_qc:mock", "a:b": "a:b", "a/b_c": "a%2Fb:c"}
    for name, path in paths.items():
        with trying(name):
            service = FakeService({f"GET {PATH}{path}": reply(json={"health": HEALTHY})})
            asking_at(service, IQM_SERVER, name).check_accessible()


def test_token_is_sent_as_it_is_and_what_is_told_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = FakeService({GET: reply(json={"health": HEALTHY, "queue_length": 4})})
    asking_at(service, IQM_SERVER, QRMI_IQM_ISA_TOKEN=f" {API_KEY} ").check_accessible()
    assert [each.headers["authorization"] for each in service.requests] == [f"Bearer {API_KEY}"]
    assert f"name(garnet_mock): accessible: waiting jobs 4, as of {UPDATED}" in caplog.messages


def test_healthy_quantum_computer_is_accessible() -> None:
    for document in (
        {"operational": "online", "health": HEALTHY, "queue_length": None},
        {"operational_status": "online", "health": {"healthy": True}},
        {"operational": None, "operational_status": "online", "health": HEALTHY},
        {"status": {"health": HEALTHY}, "health": None},
        {"status": "anything", "health": HEALTHY},
    ):
        with trying(document):
            asking_at(FakeService({GET: reply(json=document)}), IQM_SERVER).check_accessible()


def test_quantum_computer_that_is_not_accessible_has_a_reason() -> None:
    for document, expected in (
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
    ):
        text = refusal_by(IQM_SERVER, {GET: reply(json=document)})
        assert text == f"not accessible: {expected}", document


def test_refusal_is_told_in_the_services_words() -> None:
    # What is said of the answer, which stands at the braces.
    refusals = {
        (401, "unauthorized"): f"{{}}; check {TOKEN}",
        (403, "forbidden"): f"{{}}; what {TOKEN} holds may not use the resource",
        (404, "qc_not_found"): (
            f"{{}}; the service has no resource of this name, or {ENDPOINT} is not its address"
        ),
        (403, "timeslot_required"): "busy: it is reserved for those who have booked a timeslot: {}",
        (403, "no_booked_timeslots"): (
            "busy: it is reserved, and no timeslot of yours is booked now: {}"
        ),
        (403, "not_enough_credits"): "not accessible: the account has not enough credits: {}",
        (403, "quota_exceeded"): "not accessible: the account's quota is used up: {}",
    }
    for (status, code), expected in refusals.items():
        answer = reply(status, {"error_code": code, "message": f"no {API_KEY}", "details": {}})
        answered = f"{ANSWERED} {status} {HTTPStatus(status).phrase}: no **** ({code})"
        assert refusal_by(IQM_SERVER, {GET: answer}) == expected.format(answered)
    # Without known words, its status has to do.
    odd = {"error_code": ["a"], "message": "odd"}
    for document, text in ((odd, "Bad Request: odd"), ([], "Bad Request")):
        told = refusal_by(IQM_SERVER, {GET: reply(400, document)})
        assert told == f"{ANSWERED} 400 {text}"
