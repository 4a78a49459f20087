# SPDX-License-Identifier: GPL-3.0-or-later
"""What IBM's services have in common: logins, requests with them, and what refusals mean."""

from functools import partial

import httpx

from spank_qrmi.clients.ibm import IamLogin, IbmService
from spank_qrmi.clients.tokens import TokenSource
from spank_qrmi.errors import AcquisitionError, AuthenticationError, ServiceError
from tests.unit.fake_services import (
    API_KEY,
    BEARER_TOKEN,
    IAM_URL,
    SERVICE_CRN,
    FakeService,
    complaint,
    failure_of,
    ibm_values,
    reply,
    settings_of,
    text_of,
    token_reply,
)
from tests.unit.local_network import asking

TOKEN_KEY = "POST /identity/token"
GET = "GET /base/thing"
LOGIN = IamLogin(IAM_URL, API_KEY)


def ibm_service(**changes: str) -> IbmService:
    return IbmService.from_settings(settings_of(ibm_values("P_", **changes)), prefix="P_")


def service_of(service: FakeService) -> asking:
    return asking(ibm_service(), service.http())


def test_token_is_asked_for_with_the_key_in_a_form_that_no_text_repeats() -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        return reply(400, {"errorCode": "E", "errorMessage": request.content.decode()})

    service = FakeService({TOKEN_KEY: echo})
    assert "apikey=****" in complaint(ServiceError, TokenSource(service.http()).token, LOGIN)
    [sent] = service.requests
    assert str(sent.url) == "https://iam.test/identity/token"
    assert sent.content == (
        b"grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=" + API_KEY.encode()
    )
    assert "authorization" not in sent.headers


def test_requests_carry_token_and_crn() -> None:
    service = FakeService({GET: reply(200, {})})
    service_of(service).request("GET", "/thing", query={"a": "b"}, is_repeatable=True)
    sent = service.requests[1]
    assert str(sent.url) == "https://api.test/base/thing?a=b"
    assert sent.headers["authorization"] == f"Bearer {BEARER_TOKEN}"
    assert sent.headers["service-crn"] == SERVICE_CRN


def test_refused_token_is_replaced_once() -> None:
    for replies, status, bearers in (
        ([reply(401), reply(200, {})], 200, ["Bearer 1st", "Bearer 2nd"]),
        ([reply(401)], 401, ["Bearer 1st", "Bearer 2nd"]),
        ([reply(403)], 403, ["Bearer 1st"]),
    ):
        tokens = [token_reply("1st"), token_reply("2nd")]
        service = FakeService({GET: list(replies), TOKEN_KEY: tokens})
        answer = service_of(service).request("GET", "/thing", is_repeatable=False)
        assert answer.status == status
        sent = [each.headers["authorization"] for each in service.requests if each.method == "GET"]
        assert sent == bearers, status


def test_refusals_of_service_and_login_say_what_to_check() -> None:
    for status, expected in (
        (401, "Unauthorized: why; check ibm_x_P_IAM_APIKEY and ibm_x_P_SERVICE_CRN"),
        (
            403,
            "Forbidden: why; the key in ibm_x_P_IAM_APIKEY may not use the service instance in "
            "ibm_x_P_SERVICE_CRN",
        ),
        (418, "I'm a Teapot: why"),
    ):
        service = FakeService({GET: reply(status, {"errors": [{"message": "why"}]})})
        answer = service_of(service).request("GET", "/thing", is_repeatable=True)
        text = text_of(ibm_service().refusal(answer))
        assert text == f"https://api.test:443/base/thing answered {status} {expected}"
    # A refused key is named as the job sees it.
    for status in (400, 401, 403):
        service = FakeService({TOKEN_KEY: reply(status, {"errorMessage": "why"})})
        request = partial(service_of(service).request, "GET", "/thing", is_repeatable=True)
        error, text = failure_of(request)
        assert (type(error), error.status) == (AuthenticationError, status)
        assert text.endswith(": why; check ibm_x_P_IAM_APIKEY")


def test_placeholder_of_the_example_is_asked_for_nothing() -> None:
    left = "still holds the placeholder of the example: put your own value there"
    for value in ("<your IBM Cloud API key>", " <YOUR_KEY> ", "<>"):
        text = complaint(AcquisitionError, partial(ibm_service, IAM_APIKEY=value))
        assert text == f"ibm_x_P_IAM_APIKEY {left}", value
    assert isinstance(ibm_service(IAM_APIKEY="a<b>"), IbmService)
