# SPDX-License-Identifier: GPL-3.0-or-later
"""What IBM's services have in common: their logins, and requests to one service instance.

What they are asked is their clients' business.
"""

from binascii import b2a_base64
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from spank_qrmi.clients.base import Exchange, Settings
from spank_qrmi.clients.http import HttpClient, RequestOptions
from spank_qrmi.clients.response import Response, whole_number
from spank_qrmi.clients.tokens import Login
from spank_qrmi.errors import AcquisitionError, AuthenticationError, QrmiError, ServiceError
from spank_qrmi.status import QpuState, QpuStatus, state_of_word

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

SERVICE_KEYS = ("ENDPOINT", "IAM_ENDPOINT", "IAM_APIKEY", "SERVICE_CRN")
"""What `IbmService.from_settings` reads, without the prefix."""


def endpoints_of(prefix: str, *session_keys: str) -> dict[str, tuple[str, ...]]:
    """Return `Client.sent_to` of a type whose service also gets what `session_keys` hold."""
    apikey = f"{prefix}IAM_APIKEY"
    return {
        f"{prefix}IAM_ENDPOINT": (apikey,),
        f"{prefix}ENDPOINT": (apikey, f"{prefix}SERVICE_CRN", *session_keys),
    }


_GRANT_TYPE = "urn:ibm:params:oauth:grant-type:apikey"


@dataclass(frozen=True)
class IamLogin(Login):
    """An API key of IBM Cloud IAM (POST /identity/token)."""

    endpoint_url: str
    apikey: str = field(repr=False)
    kind = "iam"
    refused_text = "refused the API key"
    refused_status = HTTPStatus.BAD_REQUEST

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
class AppIdLogin(Login):
    """A client of IBM App ID, which Direct Access itself gives tokens to (POST /v1/token)."""

    service_url: str
    client_id: str
    secret: str = field(repr=False)
    kind = "app-id"
    refused_text = "refused the client id and secret"
    refused_status = HTTPStatus.UNAUTHORIZED

    def ask_for_token(self, http: HttpClient) -> Response:
        """Return the service's response; raise ServiceError if there is none."""
        pair = f"{self.client_id}:{self.secret}".encode(errors="surrogateescape")
        return http.request(
            "POST",
            f"{self.service_url}/v1/token",
            headers={"Authorization": f"Basic {b2a_base64(pair, newline=False).decode()}"},
            is_repeatable=True,
        )


@dataclass(frozen=True)
class IbmService:
    """One IBM service instance, at `endpoint_url`: requests with token and Service-CRN.

    `service_crn` names the instance, None where the login alone does; both come from the variables
    that are named beside them.
    """

    endpoint_url: str
    login: Login
    login_variables: tuple[str, ...]
    endpoint_variable: str
    service_crn: str | None = field(default=None, repr=False)
    crn_variable: str | None = None

    @classmethod
    def from_settings(
        cls, settings: Settings, *, prefix: str, endpoint_key: str = "ENDPOINT"
    ) -> "Self":
        """Return the service instance that a resource's variables describe, known by IBM Cloud IAM.

        `prefix` stands before `endpoint_key`, IAM_ENDPOINT, IAM_APIKEY and SERVICE_CRN. Raises the
        settings' error if one of them is missing or cannot be sent.
        """
        apikey, service_crn = f"{prefix}IAM_APIKEY", f"{prefix}SERVICE_CRN"
        return cls(
            endpoint_url=settings.require_url(f"{prefix}{endpoint_key}"),
            login=IamLogin(
                settings.require_url(f"{prefix}IAM_ENDPOINT"), settings.require_header_value(apikey)
            ),
            login_variables=(settings.variable(apikey),),
            endpoint_variable=settings.variable(f"{prefix}{endpoint_key}"),
            service_crn=settings.require_header_value(service_crn),
            crn_variable=settings.variable(service_crn),
        )

    def request(
        self,
        exchange: Exchange,
        method: str,
        path: str,
        *,
        is_repeatable: bool,
        **options: "Unpack[RequestOptions]",
    ) -> Response:
        """Make a request below the endpoint and return the response, see `HttpClient.request`.

        A 401 drops the token, which may have been revoked, and asks once more with a new one.
        """
        instance = {} if self.service_crn is None else {"Service-CRN": self.service_crn}

        def ask(token: str) -> Response:
            return exchange.http.request(
                method,
                f"{self.endpoint_url}{path}",
                headers={"Authorization": f"Bearer {token}", **instance},
                is_repeatable=is_repeatable,
                **options,
            )

        token = self._token(exchange)
        response = ask(token)
        if response.status == HTTPStatus.UNAUTHORIZED:
            exchange.tokens.forget(self.login, token)
            response = ask(self._token(exchange))
        return response

    def _token(self, exchange: Exchange) -> str:
        """Return an access token; raise ServiceError, of a refused login with its variables."""
        try:
            return exchange.tokens.token(self.login)
        except AuthenticationError as error:
            # Resources share a login, and its failure, but each has variables of its own.
            text = f"{error}; check {' and '.join(self.login_variables)}"
            raise AuthenticationError(text, status=error.status) from error

    def backend_status(
        self, exchange: Exchange, path: str, online_words: frozenset[str], share: float = 1.0
    ) -> QpuStatus:
        """Return the status of the backend described at `path`, online with one of these words.

        Raises AcquisitionError for a refusal, ServiceError if there is no response.
        """
        try:
            response = self._backend_response(exchange, path, share)
        except ServiceError as error:
            if error.status == HTTPStatus.LOCKED:
                return QpuStatus(QpuState.BUSY, f"the backend is reserved; {error}")
            raise
        backend = response.json_object(self.endpoint_variable)
        word = response.shown(backend.get("status"))
        state = f"backend is {word}" if word else "service gives no status of the backend"
        message = response.shown(backend.get("message"))
        detail = f": {message}" if message and message.lower() != word.lower() else ""
        status = QpuStatus(
            QpuState.ONLINE if word.lower() in online_words else state_of_word(word),
            f"the {state}{detail}",
            waiting_jobs=whole_number(backend.get("length_queue")),
        )
        if status.is_online and backend.get("locked") is True:
            reason = f"the backend is locked{detail}"
            return replace(status, state=QpuState.BUSY, reason=reason)
        return status

    def _backend_response(self, exchange: Exchange, path: str, share: float) -> Response:
        response = self.request(exchange, "GET", path, is_repeatable=True, share=share)
        if response.status == HTTPStatus.NOT_FOUND:
            raise AcquisitionError(
                f"{self.refusal_text(response)}; there is no backend of this name, or "
                f"{self.endpoint_variable} is not the API's address, which may end with /v1"
            )
        self.check_success(response)
        return response

    def check_success(self, response: Response) -> None:
        """Raise the `refusal` of a response that is no success."""
        if not response.is_success:
            raise self.refusal(response)

    def refusal(self, response: Response) -> QrmiError:
        """Return the error for a response that is no success, see `refusal_text`."""
        return AcquisitionError(self.refusal_text(response))

    def refusal_text(self, response: Response) -> str:
        """Return what is wrong with a response that is no success, and the variable to look at."""
        return f"{response.source} answered {response.status_text()}{self._hint(response.status)}"

    def _hint(self, status: int) -> str:
        """Return which variables to look at after a refusal with this status, or nothing."""
        credentials = " and ".join(self.login_variables)
        if status == HTTPStatus.UNAUTHORIZED:
            all_variables = filter(None, (*self.login_variables, self.crn_variable))
            return f"; check {' and '.join(all_variables)}"
        if status == HTTPStatus.FORBIDDEN and self.crn_variable:
            return (
                f"; the key in {credentials} may not use the service instance in "
                f"{self.crn_variable}"
            )
        if status == HTTPStatus.FORBIDDEN:
            return f"; the client in {credentials} may not use the service"
        return ""
