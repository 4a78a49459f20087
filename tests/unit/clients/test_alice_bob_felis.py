# SPDX-License-Identifier: GPL-3.0-or-later
"""Alice & Bob Felis: the questions for a target's health, and what each answer means."""

import logging
from base64 import b64encode

import httpx
import pytest

from spank_qrmi.clients.alice_bob_felis import AliceBobFelis
from spank_qrmi.errors import AcquisitionError, ServiceError
from tests.unit.fake_services import (
    API_URL,
    BASIC_KEY,
    PASSWORD,
    FakeService,
    Reply,
    reply,
    settings_of,
    text_of,
)
from tests.unit.local_network import asking

NAME = "ab_emu_40q_physical_cats"
TARGET = "GET /base/v1/targets/EMU%3A40Q%3APHYSICAL_CATS"
HEALTH, AVAILABILITIES = f"{TARGET}/health", f"{TARGET}/availabilities"
TARGETS = "GET /base/v1/targets/"
SOURCE = f"https://api.test:443{HEALTH.removeprefix('GET ')}"

pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


def client_of(service: FakeService, name: str = NAME, key: str = BASIC_KEY) -> asking:
    values = {"QRMI_AB_FELIS_BASE_ENDPOINT": API_URL, "QRMI_AB_FELIS_API_KEY": key}
    return asking(AliceBobFelis(settings_of(values, name)), service.http())


def refusal_of(replies: dict[str, Reply]) -> str:
    with pytest.raises(AcquisitionError) as caught:
        client_of(FakeService({**replies})).check_accessible()
    return text_of(caught.value)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (NAME, "EMU%3A40Q%3APHYSICAL_CATS"),
        ("emu_1q_a_b", "EMU%3A1Q%3AA_B"),
        ("AB_x", "AB%3AX"),
        ("x", "X"),
    ],
)
def test_name_is_turned_into_a_target(name: str, target: str) -> None:
    service = FakeService({f"GET /base/v1/targets/{target}/health": reply(json="OK")})
    client_of(service, name).check_accessible()
    assert [each.headers["authorization"] for each in service.requests] == [f"Basic {BASIC_KEY}"]


@pytest.mark.parametrize(
    "key", ["user:secret", "dXNlcg==", b64encode(b"no colon").decode(), "dXNl cg"]
)
def test_key_that_is_no_base64_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(AcquisitionError) as caught:
        client_of(FakeService({}), key=key)
    assert text_of(caught.value) == (
        f"{NAME}_QRMI_AB_FELIS_API_KEY must be user:password in base64, as the vendor gives it"
    )


CLOSURES = [
    {"timestamp": "2026-11-01T00:00:00Z", "enabled": True, "message": "open"},
    {"timestamp": "2026-11-02T00:00:00Z", "enabled": False, "message": f"cooling {PASSWORD}"},
    {"timestamp": None, "enabled": True},
    "text",
]


@pytest.mark.parametrize(
    ("health", "availabilities", "expected"),
    [
        (
            "OFF",
            reply(json=CLOSURES),
            "OFF (closure of 2026-11-02T00:00:00Z, reason cooling ****)",
        ),
        ("NOK", reply(json=CLOSURES[:1]), "NOK"),
        ("NOK", reply(json=[]), "NOK"),
        ("NOK", reply(404), "NOK"),
        ("NOK", reply(503), "NOK"),
        ("NOK", httpx.ConnectError("gone"), "NOK"),
        ({"health": "OK"}, reply(json={}), "not given"),
    ],
)
def test_target_that_is_not_healthy_is_not_accessible(
    health: object, availabilities: Reply, expected: str
) -> None:
    text = refusal_of({HEALTH: reply(json=health), AVAILABILITIES: availabilities})
    assert text == f"not accessible: the target's health is {expected}"


@pytest.mark.parametrize("targets", [reply(404), reply(json=[{"name": "EMU:40Q:PHYSICAL_CATS"}])])
def test_service_that_tells_no_health_is_believed_to_take_jobs(
    targets: httpx.Response, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service = FakeService({HEALTH: reply(404), TARGETS: targets})
    client_of(service).check_accessible()
    assert service.asked == [HEALTH, TARGETS]
    assert f"name({NAME}): accessible: the service tells no health" in caplog.messages


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([{"name": "EMU:1Q:A"}, {"name": "QPU:1Q:B"}, {"name": 5}, 5], "EMU:1Q:A, QPU:1Q:B"),
        ([], "none at all"),
        ({}, "none at all"),
    ],
)
def test_unknown_target_is_told_with_the_known_ones(targets: object, expected: str) -> None:
    text = refusal_of({HEALTH: reply(404), TARGETS: reply(json=targets)})
    assert text == f"the service knows no target EMU:40Q:PHYSICAL_CATS, but {expected}"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            reply(401, {"error": {"code": 401, "message": f"bad {BASIC_KEY} {PASSWORD}"}}),
            f"401 Unauthorized: bad **** **** (401); check {NAME}_QRMI_AB_FELIS_API_KEY",
        ),
        (
            reply(403),
            f"403 Forbidden; what {NAME}_QRMI_AB_FELIS_API_KEY holds may not use the resource",
        ),
    ],
)
def test_refusal_names_the_key(answer: httpx.Response, expected: str) -> None:
    assert refusal_of({HEALTH: answer}) == f"{SOURCE} answered {expected}"


@pytest.mark.parametrize("answer", [httpx.Response(200, text="OK"), reply(502)])
def test_unusable_answers_are_the_services_errors(answer: httpx.Response) -> None:
    with pytest.raises(ServiceError) as caught:
        client_of(FakeService({HEALTH: answer})).check_accessible()
    text_of(caught.value)
