# SPDX-License-Identifier: GPL-3.0-or-later
"""OQTOPUS: the one question, and what each answer means."""

import pytest

from tests.unit.fake_services import API_KEY, FakeService, reply
from tests.unit.vendors import OQTOPUS, asking_at, refusal_by

GET = "GET /base/devices/anemone"


def test_available_device_is_accessible(caplog: pytest.LogCaptureFixture) -> None:
    device = {"status": "available", "n_pending_jobs": 0, "calibrated_at": "2026-11-01"}
    service = FakeService({GET: reply(json=device)})
    asking_at(service, OQTOPUS).check_accessible()
    [sent] = service.requests
    assert sent.headers["q-api-token"] == API_KEY
    assert "authorization" not in sent.headers
    assert "name(anemone): accessible: calibrated at 2026-11-01" in caplog.messages


def test_what_is_not_accessible_has_a_reason() -> None:
    for answer, expected in (
        (
            reply(json={"status": "unavailable", "available_at": "2026-12-01", "n_qubits": 64}),
            "not accessible: the device's status is unavailable (available again at 2026-12-01)",
        ),
        (reply(json={"status": ["available"]}), "not accessible: the device's status is not given"),
    ):
        assert refusal_by(OQTOPUS, {GET: answer}) == expected, answer.text
