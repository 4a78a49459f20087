# SPDX-License-Identifier: GPL-3.0-or-later
"""Access tokens: fetched once, shared, checked, and renewed in time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from spank_qrmi.clients import tokens as tokens_module
from spank_qrmi.clients.ibm import IamLogin
from spank_qrmi.clients.tokens import TokenSource
from spank_qrmi.errors import ServiceError
from tests.unit.fake_services import (
    API_KEY,
    BEARER_TOKEN,
    IAM_URL,
    FakeService,
    complaint,
    failure_of,
    reply,
    token_reply,
)
from tests.unit.outcomes import trying

TOKEN_KEY = "POST /identity/token"
IAM = "https://iam.test:443/identity/token"
LOGIN = IamLogin(IAM_URL, API_KEY)


def test_many_threads_share_one_request_per_key() -> None:
    service = FakeService({})
    barrier = threading.Barrier(12)
    tokens = TokenSource(service.http())

    def run(number: int) -> None:
        barrier.wait(10)
        tokens.token(IamLogin(IAM_URL, f"key-{number % 2}"))

    with ThreadPoolExecutor(12) as threads:
        assert [*threads.map(run, range(12))] == [None] * 12
    assert service.token_requests == 2


def test_failure_is_given_to_every_caller_without_asking_again() -> None:
    refused = reply(400, {"errorCode": "BXNIM0415E", "errorMessage": "no"})
    service = FakeService({TOKEN_KEY: refused})
    tokens = TokenSource(service.http())
    for _ in range(3):
        error, text = failure_of(lambda: tokens.token(LOGIN))
        assert error.status == 400
        assert text == f"{IAM} refused the API key: 400 Bad Request: no (BXNIM0415E)"
    assert service.token_requests == 1


def test_failure_may_not_be_final() -> None:
    service = FakeService({TOKEN_KEY: [reply(403, {"errorMessage": "locked"}), token_reply()]})
    tokens = TokenSource(service.http(), failures_are_final=False)
    text = complaint(ServiceError, tokens.token, LOGIN)
    assert text == f"{IAM} answered: 403 Forbidden: locked"
    assert tokens.token(LOGIN) == BEARER_TOKEN
    assert service.token_requests == 2


def test_unusable_tokens_are_refused() -> None:
    tokens = ("", None, 7, "a\r\nX: y", "a\nb", "a\0", "\x1b", "ü", "x" * 16385)
    lives = ("3600", 1.5, True, None)
    for answer in (
        *(token_reply(token=token) for token in tokens),
        *(token_reply(expires_in=seconds) for seconds in lives),
        reply(200, {}),
    ):
        with trying(answer.text):
            source = TokenSource(FakeService({TOKEN_KEY: answer}).http())
            text = complaint(ServiceError, source.token, LOGIN)
            assert text == f"the answer of {IAM} holds no usable token"
    service = FakeService({TOKEN_KEY: token_reply("x" * 16384)})
    assert TokenSource(service.http()).token(LOGIN) == "x" * 16384


def test_token_is_renewed_at_nine_tenths_of_its_life(monkeypatch: pytest.MonkeyPatch) -> None:
    service = FakeService({TOKEN_KEY: token_reply(expires_in=1000)})
    tokens = TokenSource(service.http())
    now = 5000.0
    monkeypatch.setattr(tokens_module, "time", SimpleNamespace(monotonic=lambda: now))
    tokens.token(LOGIN)
    now = 5899.0
    tokens.token(LOGIN)
    assert service.token_requests == 1
    now = 5900.0
    tokens.token(LOGIN)
    assert service.token_requests == 2


def test_forget_drops_only_the_token_that_was_refused() -> None:
    service = FakeService({TOKEN_KEY: [token_reply("first"), token_reply("second")]})
    tokens = TokenSource(service.http())
    tokens.token(LOGIN)
    tokens.forget(LOGIN, "other")
    assert tokens.token(LOGIN) == "first"
    tokens.forget(LOGIN, "first")
    assert tokens.token(LOGIN) == "second"
    tokens.forget(LOGIN, "first")
    assert tokens.token(LOGIN) == "second"
    assert service.token_requests == 2
