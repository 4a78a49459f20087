# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that know us by a key which is sent as it is: requests to them, and their answers.

What they are asked is their clients' business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from spank_qrmi.clients.base import Exchange, Settings
from spank_qrmi.clients.http import RequestOptions
from spank_qrmi.clients.response import Response
from spank_qrmi.errors import AcquisitionError

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


@dataclass(frozen=True)
class KeyService:
    """The service of one resource, at `endpoint_url`; `headers` hold the key.

    Both come from the variables that are named beside them. `secrets` are what else no text shows.
    """

    endpoint_url: str
    endpoint_variable: str
    headers: Mapping[str, str] = field(repr=False)
    key_variable: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def from_settings(
        cls, settings: Settings, endpoint_key: str, key: str, header: str, scheme: str = ""
    ) -> "Self":
        """Return the service that a resource's variables describe; `scheme` stands before the key.

        Raises the settings' error if one of them is missing or cannot be sent.
        """
        return cls(
            settings.require_url(endpoint_key),
            settings.variable(endpoint_key),
            {header: f"{scheme}{settings.require_header_value(key)}"},
            settings.variable(key),
        )

    def get(self, exchange: Exchange, path: str, **options: "Unpack[RequestOptions]") -> Response:
        """Return the response to a question, see `request`."""
        return self.request(exchange, "GET", path, is_repeatable=True, **options)

    def request(
        self,
        exchange: Exchange,
        method: str,
        path: str,
        *,
        is_repeatable: bool,
        **options: "Unpack[RequestOptions]",
    ) -> Response:
        """Make a request below the endpoint and return the response, see `HttpClient.request`."""
        options["secrets"] = (*self.secrets, *options.get("secrets", ()))
        return exchange.http.request(
            method,
            f"{self.endpoint_url}{path}",
            headers=self.headers,
            is_repeatable=is_repeatable,
            **options,
        )

    def check_success(self, response: Response) -> None:
        """Raise AcquisitionError for a response that is no success, see `refusal_text`."""
        if not response.is_success:
            raise AcquisitionError(self.refusal_text(response))

    def refusal_text(self, response: Response) -> str:
        """Return what is wrong with a response that is no success, and the variable to look at."""
        hints: Mapping[int, str] = {
            HTTPStatus.UNAUTHORIZED: f"; check {self.key_variable}",
            HTTPStatus.FORBIDDEN: f"; what {self.key_variable} holds may not use the resource",
            HTTPStatus.NOT_FOUND: (
                "; the service has no resource of this name, or "
                f"{self.endpoint_variable} is not its address"
            ),
        }
        return (
            f"{response.source} answered {response.status_text()}{hints.get(response.status, '')}"
        )
