# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in to simulated Pasqal Cloud: the forms the public client sends, tokens, refusals."""

import base64
import json
from collections.abc import Iterator

import httpx
import pytest

from spank_qrmi_simulator import pasqal_login as login
from spank_qrmi_simulator.server import running_in_thread
from spank_qrmi_simulator.site import Site

TOKEN = "/pasqal/oauth/token"
BATCH = "/pasqal/core-fast/api/v2/batches/x"
USER = {
    "grant_type": login.USER_GRANT,
    "realm": login.REALM,
    "client_id": login.PUBLIC_CLIENT_ID,
    "audience": login.AUDIENCE,
    "username": login.USERNAME,
    "password": login.PASSWORD,
}
SERVICE_ACCOUNT = {
    "grant_type": login.SERVICE_ACCOUNT_GRANT,
    "client_id": login.CLIENT_ID,
    "client_secret": login.CLIENT_SECRET,
    "audience": login.AUDIENCE,
}


class Clock:
    seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def site(clock: Clock) -> Site:
    return Site(clock, token_lifetime_seconds=600)


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[httpx.Client]:
    with (
        running_in_thread(site) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=10) as client,
    ):
        yield client


def opens_the_service(client: httpx.Client, token: str) -> bool:
    answer = client.get(BATCH, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code in (401, 404)
    return answer.status_code == 404


@pytest.mark.parametrize("form", [USER, SERVICE_ACCOUNT])
def test_token_is_a_jwt_that_opens_the_service_until_it_expires(
    client: httpx.Client, clock: Clock, form: dict[str, str]
) -> None:
    answer = client.post(TOKEN, data=form)
    document = answer.json()
    assert (answer.status_code, document["token_type"]) == (200, "Bearer")
    token = document["access_token"]
    claims = token.split(".")[1]
    expires_at = json.loads(base64.urlsafe_b64decode(claims + "=="))["exp"]
    assert expires_at == clock.seconds + document["expires_in"] == clock.seconds + 600
    assert opens_the_service(client, token)
    clock.seconds = expires_at
    assert not opens_the_service(client, token)


def test_ordered_expiry_ends_tokens(client: httpx.Client, site: Site) -> None:
    token = client.post(TOKEN, data=USER).json()["access_token"]
    site.expire_tokens()
    assert not opens_the_service(client, token)


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({**USER, "password": "wrong"}, 403, "invalid_grant"),
        ({**USER, "username": "stranger"}, 403, "invalid_grant"),
        ({**USER, "client_id": "stranger"}, 401, "access_denied"),
        ({**USER, "realm": "elsewhere"}, 403, "invalid_request"),
        ({**USER, "audience": "elsewhere"}, 403, "access_denied"),
        ({**USER, "grant_type": "password"}, 403, "unsupported_grant_type"),
        ({**SERVICE_ACCOUNT, "client_secret": "wrong"}, 401, "access_denied"),
        ({**SERVICE_ACCOUNT, "audience": ""}, 403, "access_denied"),
    ],
)
def test_wrong_form_is_refused(
    client: httpx.Client, form: dict[str, str], status: int, error: str
) -> None:
    answer = client.post(TOKEN, data=form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["error_description"]


def test_body_must_be_a_form(client: httpx.Client) -> None:
    content_type = {"Content-Type": "application/x-www-form-urlencoded"}
    answers = [
        client.post(TOKEN, json=USER),
        client.post(TOKEN, content=b"rubbish", headers=content_type),
        client.post(TOKEN, content=b"realm=a&realm=b", headers=content_type),
        client.get(TOKEN),
    ]
    assert [answer.status_code for answer in answers] == [415, 400, 400, 405]
    assert {answer.json()["error"] for answer in answers} == {"invalid_request"}
