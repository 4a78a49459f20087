# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that know us by a key which is sent as it is: questions to them, and their answers.

What they are asked is their clients' business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from spank_qrmi.clients.base import Exchange, Settings
from spank_qrmi.clients.response import Response
from spank_qrmi.clients.retry import MOST_TRIES
from spank_qrmi.errors import AcquisitionError

if TYPE_CHECKING:
    from typing_extensions import Self


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

    def get(
        self,
        exchange: Exchange,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        share: float = 1.0,
        max_tries: int = MOST_TRIES,
    ) -> Response:
        """Return the response to a question, see `HttpClient.request`; raise ServiceError."""
        return exchange.http.request(
            "GET",
            f"{self.endpoint_url}{path}",
            headers=self.headers,
            query=query,
            secrets=self.secrets,
            is_repeatable=True,
            share=share,
            max_tries=max_tries,
        )

    def check_success(self, response: Response) -> None:
        """Raise AcquisitionError for a response that is no success, with what to look at."""
        if response.is_success:
            return
        hints: Mapping[int, str] = {
            HTTPStatus.UNAUTHORIZED: f"; check {self.key_variable}",
            HTTPStatus.FORBIDDEN: f"; what {self.key_variable} holds may not use the resource",
            HTTPStatus.NOT_FOUND: (
                "; the service has no resource of this name, or "
                f"{self.endpoint_variable} is not its address"
            ),
        }
        raise AcquisitionError(
            f"{response.source} answered {response.status_text()}{hints.get(response.status, '')}"
        )
