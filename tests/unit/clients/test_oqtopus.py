# SPDX-License-Identifier: GPL-3.0-or-later
"""OQTOPUS: the one question, and what each answer means."""

import logging

import httpx
import pytest

from spank_qrmi.clients.oqtopus import Oqtopus
from spank_qrmi.errors import AcquisitionError, ServiceError
from tests.unit.fake_services import API_KEY, API_URL, FakeService, reply, settings_of, text_of
from tests.unit.local_network import asking

GET = "GET /base/devices/anemone"
SOURCE = "https://api.test:443/base/devices/anemone"

pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


def client_of(service: FakeService) -> asking:
    values = {"QRMI_OQTOPUS_URL": API_URL, "QRMI_OQTOPUS_API_TOKEN": API_KEY}
    return asking(Oqtopus(settings_of(values, "anemone")), service.http())


def test_available_device_is_accessible(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    device = {"status": "available", "n_pending_jobs": 0, "calibrated_at": "2026-11-01"}
    service = FakeService({GET: reply(json=device)})
    client_of(service).check_accessible()
    assert [each.headers["q-api-token"] for each in service.requests] == [API_KEY]
    assert "authorization" not in service.requests[0].headers
    expected = "name(anemone): accessible: calibrated at 2026-11-01"
    assert expected in caplog.messages


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            reply(json={"status": "unavailable", "available_at": "2026-12-01", "n_qubits": 64}),
            "not accessible: the device's status is unavailable (available again at 2026-12-01)",
        ),
        (reply(json={"status": ["available"]}), "not accessible: the device's status is not given"),
        (
            reply(401, {"message": f"no {API_KEY}"}),
            f"{SOURCE} answered 401 Unauthorized: no ****; check anemone_QRMI_OQTOPUS_API_TOKEN",
        ),
        (
            reply(404, {"message": "none"}),
            f"{SOURCE} answered 404 Not Found: none; the service has no resource of this name, or "
            "anemone_QRMI_OQTOPUS_URL is not its address",
        ),
    ],
)
def test_what_is_not_accessible_has_a_reason(answer: httpx.Response, expected: str) -> None:
    with pytest.raises(AcquisitionError) as caught:
        client_of(FakeService({GET: answer})).check_accessible()
    assert text_of(caught.value) == expected


def test_unusable_answer_is_the_services_error() -> None:
    with pytest.raises(ServiceError, match="is not a JSON object") as caught:
        client_of(FakeService({GET: reply(json="available")})).check_accessible()
    text_of(caught.value)
