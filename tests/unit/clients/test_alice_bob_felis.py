# SPDX-License-Identifier: GPL-3.0-or-later
"""Alice & Bob Felis: the questions for a target's health, and what each answer means."""

import pytest

from spank_qrmi.errors import AcquisitionError
from tests.unit.fake_services import BASIC_KEY, PASSWORD, FakeService, reply
from tests.unit.outcomes import trying
from tests.unit.vendors import ALICE_BOB_FELIS, asking_at, refusal_by

KEY = "ab_emu_40q_physical_cats_QRMI_AB_FELIS_API_KEY"
TARGET = "GET /base/v1/targets/EMU%3A40Q%3APHYSICAL_CATS"
HEALTH, AVAILABILITIES = f"{TARGET}/health", f"{TARGET}/availabilities"
TARGETS = "GET /base/v1/targets/"


def test_name_is_turned_into_a_target() -> None:
    targets = {
        ALICE_BOB_FELIS.name: "EMU%3A40Q%3APHYSICAL_CATS",
        "emu_1q_a_b": "EMU%3A1Q%3AA_B",
        "AB_x": "AB%3AX",
    }
    for name, target in targets.items():
        with trying(name):
            service = FakeService({f"GET /base/v1/targets/{target}/health": reply(json="OK")})
            asking_at(service, ALICE_BOB_FELIS, name).check_accessible()
            [sent] = service.requests
            assert sent.headers["authorization"] == f"Basic {BASIC_KEY}"


def test_key_that_is_no_base64_is_refused_and_not_shown() -> None:
    for key in ("user:secret", "dXNlcg==", "dXNl cg"):
        with pytest.raises(AcquisitionError) as caught:
            asking_at(FakeService({}), ALICE_BOB_FELIS, QRMI_AB_FELIS_API_KEY=key)
        told = f"{KEY} must be user:password in base64, as the vendor gives it"
        assert str(caught.value) == told, key


def test_what_is_not_accessible_has_a_reason() -> None:
    closures = [
        {"timestamp": "2026-11-01T00:00:00Z", "enabled": True, "message": "open"},
        {"timestamp": "2026-11-02T00:00:00Z", "enabled": False, "message": f"cooling {PASSWORD}"},
        {"timestamp": None, "enabled": True},
        "text",
    ]
    closed = "(closure of 2026-11-02T00:00:00Z, reason cooling ****)"
    targets = [{"name": "EMU:1Q:A"}, {"name": "QPU:1Q:B"}, {"name": 5}, 5]
    refusal = reply(401, {"error": {"code": 401, "message": f"bad {BASIC_KEY} {PASSWORD}"}})
    answered = f"https://api.test:443{HEALTH.removeprefix('GET ')} answered 401 Unauthorized"
    unhealthy = "not accessible: the target's health is"
    unknown = "the service knows no target EMU:40Q:PHYSICAL_CATS, but"
    for health, asked_then, answer, expected in (
        (reply(json="OFF"), AVAILABILITIES, reply(json=closures), f"{unhealthy} OFF {closed}"),
        (reply(json="NOK"), AVAILABILITIES, reply(json=closures[:1]), f"{unhealthy} NOK"),
        (reply(json="NOK"), AVAILABILITIES, reply(json=[]), f"{unhealthy} NOK"),
        (reply(json="NOK"), AVAILABILITIES, reply(503), f"{unhealthy} NOK"),
        (reply(json={"health": "OK"}), AVAILABILITIES, reply(json={}), f"{unhealthy} not given"),
        (reply(404), TARGETS, reply(json=targets), f"{unknown} EMU:1Q:A, QPU:1Q:B"),
        (reply(404), TARGETS, reply(json=[]), f"{unknown} none at all"),
        (reply(404), TARGETS, reply(json={}), f"{unknown} none at all"),
        (refusal, TARGETS, reply(404), f"{answered}: bad **** **** (401); check {KEY}"),
    ):
        with trying(expected):
            assert refusal_by(ALICE_BOB_FELIS, {HEALTH: health, asked_then: answer}) == expected


def test_service_that_tells_no_health_is_believed_to_take_jobs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for targets in (reply(404), reply(json=[{"name": "EMU:40Q:PHYSICAL_CATS"}])):
        service = FakeService({HEALTH: reply(404), TARGETS: targets})
        asking_at(service, ALICE_BOB_FELIS).check_accessible()
        assert service.asked == [HEALTH, TARGETS]
        told = f"name({ALICE_BOB_FELIS.name}): accessible: the service tells no health"
        assert caplog.messages[-1] == told
