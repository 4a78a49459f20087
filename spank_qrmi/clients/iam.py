# SPDX-License-Identifier: GPL-3.0-or-later
"""Access tokens of IBM's services, shared between resources, and requests with them.

Owns everything that IBM's services have in common; what they are asked is their clients' business.
"""

import threading
import time
from binascii import b2a_base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from spank_qrmi.clients.base import Settings
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.response import Response
from spank_qrmi.clients.retry import MOST_TRIES
from spank_qrmi.errors import AcquisitionError, AuthenticationError, ServiceError

_GRANT_TYPE = "urn:ibm:params:oauth:grant-type:apikey"

LONGEST_TOKEN = 16 * 1024
"""Characters; servers take no longer headers."""

LONGEST_LIFE_SECONDS = 86400
"""What is believed of a token's life, whatever its service says."""

_USED_PART_OF_LIFE = 0.9
"""Part of a token's life after which a new one is fetched."""


class Login(Protocol):
    """What a service gives an access token for; equal logins share one."""

    @property
    def fields(self) -> tuple[str, ...]:
        """What tells it from every other login, credentials included; see `login_from_fields`."""

    @property
    def refused_text(self) -> str:
        """What to say when the service does not take the credentials."""

    @property
    def refused_status(self) -> HTTPStatus:
        """With which status it says so."""

    def ask_for_token(self, http: HttpClient) -> Response:
        """Return the service's response; raise ServiceError if there is none."""


@dataclass(frozen=True)
class IamLogin:
    """An API key of IBM Cloud IAM (POST /identity/token)."""

    endpoint_url: str
    apikey: str = field(repr=False)
    refused_text = "refused the API key"
    refused_status = HTTPStatus.BAD_REQUEST

    @property
    def fields(self) -> tuple[str, ...]:
        """What tells it from every other login, credentials included."""
        return (_IAM, self.endpoint_url, self.apikey)

    def ask_for_token(self, http: HttpClient) -> Response:
        """Return the service's response; raise ServiceError if there is none."""
        return http.request(
            "POST",
            f"{self.endpoint_url}/identity/token",
            headers={},
            form={"grant_type": _GRANT_TYPE, "apikey": self.apikey},
            is_repeatable=True,
        )


@dataclass(frozen=True)
class AppIdLogin:
    """A client of IBM App ID, which Direct Access itself gives tokens to (POST /v1/token)."""

    service_url: str
    client_id: str
    secret: str = field(repr=False)
    refused_text = "refused the client id and secret"
    refused_status = HTTPStatus.UNAUTHORIZED

    @property
    def fields(self) -> tuple[str, ...]:
        """What tells it from every other login, credentials included."""
        return (_APP_ID, self.service_url, self.client_id, self.secret)

    def ask_for_token(self, http: HttpClient) -> Response:
        """Return the service's response; raise ServiceError if there is none."""
        pair = f"{self.client_id}:{self.secret}".encode(errors="surrogateescape")
        return http.request(
            "POST",
            f"{self.service_url}/v1/token",
            headers={"Authorization": f"Basic {b2a_base64(pair, newline=False).decode()}"},
            is_repeatable=True,
        )


_IAM, _APP_ID = "iam", "app-id"
_LOGINS: Mapping[str, Callable[..., Login]] = {_IAM: IamLogin, _APP_ID: AppIdLogin}


def login_from_fields(fields: Sequence[str]) -> Login:
    """Return the login of which `Login.fields` tells."""
    kind, *values = fields
    return _LOGINS[kind](*values)


TokenListener = Callable[[Login, str, float], object]
"""Is told a new token and for how many seconds it may be used, or "" for one that was refused."""


@dataclass
class _Entry:
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
        self._entries: dict[Login, _Entry] = {}
        self._entries_lock = threading.Lock()

    def token(self, login: Login) -> str:
        """Return an access token.

        Raises AuthenticationError if the credentials were refused, ServiceError if there is no
        token for another reason.
        """
        entry = self._entry(login)
        with entry.lock:
            if entry.failure is not None:
                failure = entry.failure
                raise type(failure)(str(failure), status=failure.status) from failure
            if entry.token is None or time.monotonic() >= entry.expires_at:
                asked_at = time.monotonic()
                try:
                    entry.token, life_seconds = self._fetch(login)
                except ServiceError as error:
                    if self._failures_are_final:
                        entry.failure = error
                    raise
                entry.expires_at = asked_at + life_seconds * _USED_PART_OF_LIFE
                self._tell(login, entry.token, entry.expires_at - time.monotonic())
            return entry.token

    def use(self, login: Login, token: str, seconds: float) -> None:
        """Take a token that was fetched elsewhere and may be used for so many seconds."""
        entry = self._entry(login)
        with entry.lock:
            entry.token, entry.expires_at = token, time.monotonic() + seconds

    def forget(self, login: Login, token: str) -> None:
        """Drop `token`, which a service refused, unless another one has already replaced it."""
        entry = self._entry(login)
        with entry.lock:
            if entry.token == token:
                entry.token = None
                self._tell(login, "", 0.0)

    def _entry(self, login: Login) -> _Entry:
        with self._entries_lock:
            return self._entries.setdefault(login, _Entry())

    def _fetch(self, login: Login) -> tuple[str, int]:
        """Return a new token and its life in seconds."""
        response = login.ask_for_token(self._http)
        if response.status == login.refused_status:
            message = f"{response.source} {login.refused_text}: {response.status_text()}"
            raise AuthenticationError(message, status=response.status)
        if not response.is_success:
            message = f"{response.source} answered: {response.status_text()}"
            is_refusal = response.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
            raise (AuthenticationError if is_refusal else ServiceError)(
                message, status=response.status
            )
        document = response.json_object()
        token, life_seconds = document.get("access_token"), document.get("expires_in")
        is_usable = isinstance(token, str) and is_token(token)
        # bool is an int in Python, but not in JSON.
        if not (is_usable and isinstance(life_seconds, int) and not isinstance(life_seconds, bool)):
            message = f"the answer of {response.source} holds no usable token"
            raise ServiceError(message, status=response.status)
        return str(token), max(0, min(life_seconds, LONGEST_LIFE_SECONDS))


@dataclass(frozen=True)
class Access:
    """How requests to one service instance are authorised, and which variables say so.

    `service_crn` names the instance, None where the login alone does.
    """

    login: Login
    service_crn: str | None = field(repr=False)
    login_variables: tuple[str, ...]
    crn_variable: str | None

    def hint(self, status: int) -> str:
        """Return which variables to look at after a refusal with this status, or nothing."""
        credentials = " and ".join(self.login_variables)
        if status == HTTPStatus.UNAUTHORIZED:
            both = (*self.login_variables, *([self.crn_variable] if self.crn_variable else []))
            return f"; check {' and '.join(both)}"
        if status == HTTPStatus.FORBIDDEN and self.crn_variable:
            return (
                f"; the key in {credentials} may not use the service instance in "
                f"{self.crn_variable}"
            )
        if status == HTTPStatus.FORBIDDEN:
            return f"; the client in {credentials} may not use the service"
        return ""


class IbmService:
    """One IBM service instance, at `endpoint_url`: requests with token and Service-CRN."""

    def __init__(
        self, endpoint_url: str, access: Access, http: HttpClient, tokens: TokenSource
    ) -> None:
        self._http = http
        self._tokens = tokens
        self._endpoint_url = endpoint_url
        self._access = access
        crn = access.service_crn
        self._headers: Mapping[str, str] = {} if crn is None else {"Service-CRN": crn}

    @property
    def login(self) -> Login:
        """What requests are authorised with."""
        return self._access.login

    @classmethod
    def from_settings(
        cls, settings: Settings, http: HttpClient, tokens: TokenSource, *, prefix: str
    ) -> "IbmService":
        """Return the service instance that a resource's variables describe.

        `prefix` stands before ENDPOINT, IAM_ENDPOINT, IAM_APIKEY and SERVICE_CRN. Raises
        AcquisitionError if one of them is missing or cannot be sent.
        """
        endpoint_url = settings.require_url(f"{prefix}ENDPOINT")
        iam_endpoint_url = settings.require_url(f"{prefix}IAM_ENDPOINT")
        apikey = _require_header_value(settings, f"{prefix}IAM_APIKEY")
        access = Access(
            login=IamLogin(iam_endpoint_url, apikey),
            service_crn=_require_header_value(settings, f"{prefix}SERVICE_CRN"),
            login_variables=(settings.variable(f"{prefix}IAM_APIKEY"),),
            crn_variable=settings.variable(f"{prefix}SERVICE_CRN"),
        )
        return cls(endpoint_url, access, http, tokens)

    def authorized_request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        secrets: tuple[str, ...] = (),
        is_repeatable: bool,
        share: float = 1.0,
        max_tries: int = MOST_TRIES,
    ) -> Response:
        """Make a request below the endpoint and return the response, see `HttpClient.request`.

        A 401 drops the token, which may have been revoked, and asks once more with a new one.
        """

        def ask(token: str) -> Response:
            return self._http.request(
                method,
                f"{self._endpoint_url}{path}",
                headers={"Authorization": f"Bearer {token}", **self._headers},
                query=query,
                json=json,
                secrets=secrets,
                is_repeatable=is_repeatable,
                share=share,
                max_tries=max_tries,
            )

        token = self._tokens.token(self.login)
        response = ask(token)
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._tokens.forget(self.login, token)
            response = ask(self._tokens.token(self.login))
        return response

    def check_backend(
        self, path: str, accessible_statuses: frozenset[str], share: float = 1.0
    ) -> None:
        """Return if the backend described at `path` has one of these statuses, in any case.

        `share` (0 to 1) is the part of the remaining time that it may use. Raises AcquisitionError
        with the service's reason, ServiceError if there is no response.
        """
        response = self.authorized_request("GET", path, is_repeatable=True, share=share)
        if response.status == HTTPStatus.NOT_FOUND:
            raise AcquisitionError("the service knows no backend of this name")
        if not response.is_success:
            raise self.refusal(response)
        backend = response.json_object()
        status = backend.get("status")
        if not isinstance(status, str) or status.lower() not in accessible_statuses:
            raise AcquisitionError(response.not_accessible_text("backend", backend))

    def refusal(self, response: Response) -> AcquisitionError:
        """Return the error for a response that is no success, see `refusal_text`."""
        return AcquisitionError(self.refusal_text(response))

    def refusal_text(self, response: Response) -> str:
        """Return what is wrong with a response that is no success, and the variable to look at."""
        hint = self._access.hint(response.status)
        return f"{response.source} answered {response.status_text()}{hint}"


def is_token(text: str) -> bool:
    """Return whether `text` can be an access token."""
    return 0 < len(text) <= LONGEST_TOKEN and is_header_value(text)


def is_header_value(text: str) -> bool:
    """Return whether a header can carry `text`."""
    return text.isascii() and text.isprintable()


def _require_header_value(settings: Settings, key: str) -> str:
    """Return the value of `key`; raise AcquisitionError if no header can carry it."""
    value = settings.require(key)
    if not is_header_value(value):
        message = f"{settings.variable(key)} must be plain ASCII text on one line"
        raise AcquisitionError(message)
    return value
