# SPDX-License-Identifier: GPL-3.0-or-later
"""Pasqal Cloud: the one question, and what each answer means."""

import logging

import httpx
import pytest

from spank_qrmi.clients.pasqal_cloud import PasqalCloud
from spank_qrmi.errors import AcquisitionError, ServiceError
from tests.unit.fake_services import (
    API_KEY,
    FakeService,
    reply,
    settings_of,
    text_of,
)
from tests.unit.local_network import asking

GET = "GET /core-fast/api/v1/devices"
SOURCE = "https://apis.pasqal.cloud:443/core-fast/api/v1/devices"


pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


def client_of(service: FakeService, **values: str) -> asking:
    settings = settings_of({"QRMI_PASQAL_CLOUD_AUTH_TOKEN": API_KEY, **values}, "Emu_Free")
    return asking(PasqalCloud(settings), service.http())


def devices(*entries: object) -> httpx.Response:
    return reply(200, {"status": "success", "data": list(entries)})


@pytest.mark.parametrize(
    ("base_url", "host"),
    [("", "apis.pasqal.cloud"), ("  ", "apis.pasqal.cloud"), ("http://sim.test/", "sim.test")],
)
def test_active_device_is_accessible_and_no_credentials_are_sent(base_url: str, host: str) -> None:
    service = FakeService({GET: devices({"availability": "ACTIVE", "status": "UP"})})
    client_of(service, QRMI_PASQAL_CLOUD_BASE_URL=base_url).check_accessible()
    (sent,) = service.requests
    assert sent.url.host == host
    assert sent.url.params["device_type"] == "EMU_FREE"
    assert "authorization" not in sent.headers
    assert API_KEY not in str(sent.headers)


@pytest.mark.parametrize(("status", "shown"), [("DOWN", "DOWN"), (None, "not given")])
def test_device_that_is_down_takes_jobs_unless_the_site_refuses_that(
    status: str | None, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = devices({"availability": "ACTIVE", "status": status})
    client_of(FakeService({GET: answer})).check_accessible()
    text = f"the device's status is {shown}: its jobs may wait"
    assert f"name(Emu_Free): accessible: {text}" in caplog.messages
    refusing = client_of(FakeService({GET: answer}), QRMI_PASQAL_CLOUD_IF_DOWN=" Refuse")
    with pytest.raises(AcquisitionError) as caught:
        refusing.check_accessible()
    assert text_of(caught.value) == f"not accessible: the device's status is {shown}"


def test_what_to_do_with_a_device_that_is_down_is_one_of_two_words() -> None:
    with pytest.raises(AcquisitionError) as caught:
        client_of(FakeService({}), QRMI_PASQAL_CLOUD_IF_DOWN="wait")
    expected = "Emu_Free_QRMI_PASQAL_CLOUD_IF_DOWN must be accept or refuse"
    assert text_of(caught.value) == expected


def test_status_may_be_absent() -> None:
    client_of(FakeService({GET: devices({"availability": "ACTIVE"})})).check_accessible()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (devices(), "the service knows no device of type EMU_FREE"),
        (
            devices({"availability": "INACTIVE", "status": "UP"}),
            "not accessible: the device's availability is INACTIVE",
        ),
        (devices({"status": "UP"}), "not accessible: the device's availability is not given"),
        (
            reply(404),
            f"{SOURCE} answered 404 Not Found; check Emu_Free_QRMI_PASQAL_CLOUD_BASE_URL",
        ),
        (reply(403, {"message": "no\tway"}), f"{SOURCE} answered 403 Forbidden: no?way"),
    ],
)
def test_what_is_not_accessible_has_a_reason(answer: httpx.Response, expected: str) -> None:
    with pytest.raises(AcquisitionError) as caught:
        client_of(FakeService({GET: answer})).check_accessible()
    assert text_of(caught.value) == expected


@pytest.mark.parametrize(
    "answer",
    [
        devices("text"),
        reply(200, {"data": {"status": "UP"}}),
        reply(200, {}),
        reply(200, []),
        reply(502),
    ],
)
def test_unusable_answers_are_the_services_errors(answer: httpx.Response) -> None:
    with pytest.raises(ServiceError) as caught:
        client_of(FakeService({GET: answer})).check_accessible()
    text_of(caught.value)


def test_unusable_base_url_is_refused() -> None:
    with pytest.raises(
        AcquisitionError, match=r"^Emu_Free_QRMI_PASQAL_CLOUD_BASE_URL must be a URL"
    ):
        client_of(FakeService({}), QRMI_PASQAL_CLOUD_BASE_URL="apis.pasqal.cloud")
