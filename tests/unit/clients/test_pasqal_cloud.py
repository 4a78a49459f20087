# SPDX-License-Identifier: GPL-3.0-or-later
"""Pasqal Cloud: the one question, and what each answer means."""

import httpx
import pytest

from spank_qrmi.errors import AcquisitionError, ServiceError
from tests.unit.fake_services import API_KEY, FakeService, complaint, reply
from tests.unit.outcomes import trying
from tests.unit.vendors import PASQAL_CLOUD, asking_at, refusal_by

GET = "GET /core-fast/api/v1/devices"
ANSWERED = "https://apis.pasqal.cloud:443/core-fast/api/v1/devices answered"
IF_DOWN, BASE_URL = "QRMI_PASQAL_CLOUD_IF_DOWN", "QRMI_PASQAL_CLOUD_BASE_URL"


def devices(*entries: object) -> httpx.Response:
    return reply(200, {"status": "success", "data": list(entries)})


def test_active_device_is_accessible_and_no_credentials_are_sent() -> None:
    for base_url, host, status in (
        ("  ", "apis.pasqal.cloud", {}),
        ("http://sim.test/", "sim.test", {"status": "UP"}),
    ):
        with trying(base_url):
            service = FakeService({GET: devices({"availability": "ACTIVE", **status})})
            values = {"QRMI_PASQAL_CLOUD_AUTH_TOKEN": API_KEY, BASE_URL: base_url}
            values[IF_DOWN] = "refuse"
            asking_at(service, PASQAL_CLOUD, "Emu_Free", **values).check_accessible()
            [sent] = service.requests
            assert (sent.url.host, sent.url.params["device_type"]) == (host, "EMU_FREE")
            assert "authorization" not in sent.headers
            assert API_KEY not in str(sent.headers)


@pytest.mark.parametrize(("status", "shown"), [("DOWN", "DOWN"), (None, "not given")])
def test_device_that_is_down_takes_jobs_unless_the_site_refuses_that(
    status: str | None, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = devices({"availability": "ACTIVE", "status": status})
    asking_at(FakeService({GET: answer}), PASQAL_CLOUD).check_accessible()
    text = f"the device's status is {shown}"
    assert f"name(FRESNEL): accessible: {text}: its jobs may wait" in caplog.messages
    refused = refusal_by(PASQAL_CLOUD, {GET: answer}, **{IF_DOWN: " Refuse"})
    assert refused == f"not accessible: {text}"


def test_settings_that_cannot_be_used_are_named() -> None:
    for key, value, told in (
        (IF_DOWN, "wait", "must be accept or refuse"),
        (BASE_URL, "apis.pasqal.cloud", "must be a URL"),
    ):
        with pytest.raises(AcquisitionError, match=f"^FRESNEL_{key} {told}"):
            asking_at(FakeService({}), PASQAL_CLOUD, **{key: value})


def test_what_is_not_accessible_has_a_reason_and_an_unusable_answer_is_an_error() -> None:
    for answer, expected in (
        (devices(), "the service knows no device of type FRESNEL"),
        (
            devices({"availability": "INACTIVE", "status": "UP"}),
            "not accessible: the device's availability is INACTIVE",
        ),
        (devices({"status": "UP"}), "not accessible: the device's availability is not given"),
        (reply(404), f"{ANSWERED} 404 Not Found; check FRESNEL_{BASE_URL}"),
        (reply(403, {"message": "no\tway"}), f"{ANSWERED} 403 Forbidden: no?way"),
    ):
        assert refusal_by(PASQAL_CLOUD, {GET: answer}) == expected, answer.text
    for document in ({"data": ["text"]}, {"data": {"status": "UP"}}, {}):
        client = asking_at(FakeService({GET: reply(200, document)}), PASQAL_CLOUD)
        with trying(document):
            complaint(ServiceError, client.check_accessible)
