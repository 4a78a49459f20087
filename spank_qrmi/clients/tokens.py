# SPDX-License-Identifier: GPL-3.0-or-later
"""Access tokens of any vendor's services, shared between the resources with the same login."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from http import HTTPStatus
from typing import ClassVar

from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.request import is_header_value
from spank_qrmi.clients.response import Response, whole_number
from spank_qrmi.errors import AuthenticationError, ServiceError

LONGEST_TOKEN = 16 * 1024
"""Characters; servers take no longer headers."""

LONGEST_LIFE_SECONDS = 86400
"""What is believed of a token's life, whatever its service says."""

_USED_PART_OF_LIFE = 0.9
"""Part of a token's life after which a new one is fetched."""


@dataclass(frozen=True)
class Login(ABC):
    """What a service gives an access token for: a kind, and what is asked with; equal logins share.

    `refused_text` is what to say when the service does not take the credentials, `refused_status`
    with which status it says so.
    """

    kind: ClassVar[str]
    refused_text: ClassVar[str]
    refused_status: ClassVar[HTTPStatus]

    @property
    def fields(self) -> tuple[str, ...]:
        """What tells it from every other login, credentials included."""
        return (self.kind, *astuple(self))

    @abstractmethod
    def ask_for_token(self, http: HttpClient) -> Response:
        """Return the service's response; raise ServiceError if there is none."""


TokenListener = Callable[[Login, str, float], object]
"""Is told a new token and for how many seconds it may be used, or "" for one that was refused."""


@dataclass
class _LoginState:
    """What is known of one login; `lock` is held while asking for a token."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    token: str | None = field(default=None, repr=False)
    expires_at: float = 0.0
    failure: ServiceError | None = None


class TokenSource:
    """Access tokens, one request per login however many threads ask; for one piece of work.

    A failure is final unless told otherwise: the requests behind it were already repeated. `tell`
    is called while the login's other requests wait.
    """

    def __init__(
        self,
        http: HttpClient,
        *,
        failures_are_final: bool = True,
        tell: TokenListener = lambda login, token, seconds: None,
    ) -> None:
        self._http = http
        self._failures_are_final = failures_are_final
        self._tell = tell
        self._states: dict[Login, _LoginState] = {}
        self._states_lock = threading.Lock()

    def token(self, login: Login) -> str:
        """Return an access token.

        Raises AuthenticationError if the credentials were refused, ServiceError if there is no
        token for another reason.
        """
        state = self._state(login)
        with state.lock:
            if state.failure is not None:
                failure = state.failure
                raise type(failure)(str(failure), status=failure.status) from failure
            if state.token is None or time.monotonic() >= state.expires_at:
                asked_at = time.monotonic()
                try:
                    state.token, life_seconds = self._fetch(login)
                except ServiceError as error:
                    if self._failures_are_final:
                        state.failure = error
                    raise
                state.expires_at = asked_at + life_seconds * _USED_PART_OF_LIFE
                self._tell(login, state.token, state.expires_at - time.monotonic())
            return state.token

    def use(self, login: Login, token: str, seconds: float) -> None:
        """Take a token that was fetched elsewhere and may be used for so many seconds."""
        state = self._state(login)
        with state.lock:
            state.token, state.expires_at = token, time.monotonic() + seconds

    def forget(self, login: Login, token: str) -> None:
        """Drop `token`, which a service refused, unless another one has already replaced it."""
        state = self._state(login)
        with state.lock:
            if state.token == token:
                state.token = None
                self._tell(login, "", 0.0)

    def _state(self, login: Login) -> _LoginState:
        with self._states_lock:
            return self._states.setdefault(login, _LoginState())

    def _fetch(self, login: Login) -> tuple[str, int]:
        """Return a new token and its life in seconds."""
        response = login.ask_for_token(self._http)
        if response.status == login.refused_status:
            raise AuthenticationError(
                f"{response.source} {login.refused_text}: {response.status_text()}",
                status=response.status,
            )
        if not response.is_success:
            raise response.refusal(f"{response.source} answered: {response.status_text()}")
        document = response.json_object()
        token, life_seconds = document.get("access_token"), whole_number(document.get("expires_in"))
        if not (isinstance(token, str) and is_token(token)) or life_seconds is None:
            raise response.unusable_error("holds no usable token")
        return token, max(0, min(life_seconds, LONGEST_LIFE_SECONDS))


def is_token(text: str) -> bool:
    """Return whether `text` can be an access token."""
    return 0 < len(text) <= LONGEST_TOKEN and is_header_value(text)
