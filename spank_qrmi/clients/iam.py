# SPDX-License-Identifier: GPL-3.0-or-later
"""IBM Cloud IAM: access tokens from API keys, shared between resources, and requests with them.

Owns everything that IBM's services have in common; what they are asked is their clients' business.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from spank_qrmi.clients.answer import Answer
from spank_qrmi.clients.base import Settings
from spank_qrmi.errors import AcquisitionError, ServiceError

if TYPE_CHECKING:
    from spank_qrmi.clients.http import HttpClient

_GRANT_TYPE = "urn:ibm:params:oauth:grant-type:apikey"

_USED_PART_OF_LIFE = 0.9
"""Part of a token's life after which a new one is fetched."""


@dataclass
class _Entry:
    """What is known of one API key at one endpoint; `lock` is held while asking for a token."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    token: str | None = field(default=None, repr=False)
    expires_at: float = 0.0
    failure: ServiceError | None = None


class TokenSource:
    """Access tokens, one request per API key however many threads ask; for one piece of work.

    A failure is final: the requests behind it were already repeated.
    """

    def __init__(self, http: "HttpClient") -> None:
        self._http = http
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._entries_lock = threading.Lock()

    def token(self, endpoint_url: str, apikey: str) -> str:
        """Return an access token (IBM Cloud IAM, POST /identity/token).

        Raises ServiceError if there is none, with status 400 if the key was refused.
        """
        entry = self._entry(endpoint_url, apikey)
        with entry.lock:
            if entry.failure is not None:
                failure = entry.failure
                raise ServiceError(str(failure), status=failure.status) from failure
            if entry.token is None or time.monotonic() >= entry.expires_at:
                asked_at = time.monotonic()
                try:
                    entry.token, life_seconds = self._fetch(endpoint_url, apikey)
                except ServiceError as error:
                    entry.failure = error
                    raise
                entry.expires_at = asked_at + life_seconds * _USED_PART_OF_LIFE
            return entry.token

    def forget(self, endpoint_url: str, apikey: str, token: str) -> None:
        """Drop `token`, which a service refused, unless another one has already replaced it."""
        entry = self._entry(endpoint_url, apikey)
        with entry.lock:
            if entry.token == token:
                entry.token = None

    def _entry(self, endpoint_url: str, apikey: str) -> _Entry:
        with self._entries_lock:
            return self._entries.setdefault((endpoint_url, apikey), _Entry())

    def _fetch(self, endpoint_url: str, apikey: str) -> tuple[str, int]:
        """Return a new token and its life in seconds."""
        answer = self._http.request(
            "POST",
            f"{endpoint_url}/identity/token",
            headers={},
            form={"grant_type": _GRANT_TYPE, "apikey": apikey},
            is_repeatable=True,
        )
        if not answer.is_success:
            verb = "refused the API key" if answer.status == HTTPStatus.BAD_REQUEST else "answered"
            message = f"{answer.source} {verb}: {answer.status_text()}"
            raise ServiceError(message, status=answer.status)
        document = answer.json_object()
        token, life_seconds = document.get("access_token"), document.get("expires_in")
        is_token = isinstance(token, str) and bool(token) and _is_header_value(token)
        # bool is an int in Python, but not in JSON.
        if not (is_token and isinstance(life_seconds, int) and not isinstance(life_seconds, bool)):
            message = f"the answer of {answer.source} holds no usable token"
            raise ServiceError(message, status=answer.status)
        return str(token), life_seconds


class IbmService:
    """One IBM service instance: its four variables, and requests with token and Service-CRN.

    `prefix` stands before ENDPOINT, IAM_ENDPOINT, IAM_APIKEY and SERVICE_CRN. Raises
    AcquisitionError if one of them is missing or cannot be sent.
    """

    def __init__(
        self, settings: Settings, http: "HttpClient", tokens: TokenSource, *, prefix: str
    ) -> None:
        self._http = http
        self._tokens = tokens
        self._endpoint_url = settings.require_url(f"{prefix}ENDPOINT")
        self._iam_endpoint_url = settings.require_url(f"{prefix}IAM_ENDPOINT")
        self._apikey = _require_header_value(settings, f"{prefix}IAM_APIKEY")
        self._service_crn = _require_header_value(settings, f"{prefix}SERVICE_CRN")
        self._apikey_variable = settings.variable(f"{prefix}IAM_APIKEY")
        self._service_crn_variable = settings.variable(f"{prefix}SERVICE_CRN")

    def authorized_request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        is_repeatable: bool,
        share: float = 1.0,
    ) -> Answer:
        """Make a request below the endpoint and return the answer, see `HttpClient.request`.

        A 401 drops the token, which may have been revoked, and asks once more with a new one.
        """

        def ask(token: str) -> Answer:
            return self._http.request(
                method,
                f"{self._endpoint_url}{path}",
                headers={"Authorization": f"Bearer {token}", "Service-CRN": self._service_crn},
                query=query,
                json=json,
                is_repeatable=is_repeatable,
                share=share,
            )

        token = self._tokens.token(self._iam_endpoint_url, self._apikey)
        answer = ask(token)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._tokens.forget(self._iam_endpoint_url, self._apikey, token)
            answer = ask(self._tokens.token(self._iam_endpoint_url, self._apikey))
        return answer

    def check_backend(self, path: str, accessible_statuses: frozenset[str]) -> None:
        """Return if the backend described at `path` has one of these statuses, in any case.

        Raises AcquisitionError with the service's reason, ServiceError if there is no answer.
        """
        answer = self.authorized_request("GET", path, is_repeatable=True)
        if answer.status == HTTPStatus.NOT_FOUND:
            raise AcquisitionError("the service knows no backend of this name")
        if not answer.is_success:
            raise self.refusal(answer)
        backend = answer.json_object()
        if str(backend.get("status")).lower() not in accessible_statuses:
            raise AcquisitionError(answer.not_accessible_text("backend", backend))

    def refusal(self, answer: Answer) -> AcquisitionError:
        """Return the error for an answer that is no success, with the variable to look at."""
        hint = ""
        if answer.status == HTTPStatus.UNAUTHORIZED:
            hint = f"; check {self._apikey_variable} and {self._service_crn_variable}"
        elif answer.status == HTTPStatus.FORBIDDEN:
            hint = (
                f"; the key in {self._apikey_variable} may not use the service instance in "
                f"{self._service_crn_variable}"
            )
        return AcquisitionError(f"{answer.source} answered {answer.status_text()}{hint}")


def _is_header_value(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _require_header_value(settings: Settings, key: str) -> str:
    """Return the value of `key`; raise AcquisitionError if no header can carry it."""
    value = settings.require(key)
    if not _is_header_value(value):
        message = f"{settings.variable(key)} must be plain ASCII text on one line"
        raise AcquisitionError(message)
    return value
