# SPDX-License-Identifier: GPL-3.0-or-later
"""IBM Cloud IAM: bearer tokens for API keys, and whose token a request carries.

Request, answer and refusal codes as in the service's public description of `/identity/token`.
"""

from collections.abc import Mapping
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spank_qrmi_simulator.answers import RefusalError, Vendor, read_form
from spank_qrmi_simulator.site import (
    API_KEY,
    OPEN_PLAN_API_KEY,
    SERVICE_CRN,
    TOKEN_START,
    Site,
    Token,
)

GRANT_TYPE = "urn:ibm:params:oauth:grant-type:apikey"
PROPERTY_MISSING = "BXNIM0109E"
KEY_NOT_FOUND = "BXNIM0415E"
WEB_EXCEPTION = "BXNIM0060E"


class Iam(Vendor):
    """The token endpoint."""

    prefix = "/iam"
    secrets: ClassVar[Mapping[str, str]] = {
        "API key": API_KEY,
        "API key of the open plan": OPEN_PLAN_API_KEY,
        "service CRN": SERVICE_CRN,
        "bearer token": TOKEN_START,
    }

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Return the endpoints, with full paths."""
        return [Route(f"{self.prefix}/identity/token", self._issue_token, methods=["POST"])]

    def error_body(self, status: int, code: str | None, message: str) -> dict[str, object]:
        """Return an error as IAM words it."""
        return {
            "errorCode": code or WEB_EXCEPTION,
            "errorMessage": message,
            "errorDetails": f"HTTP {status}",
        }

    async def _issue_token(self, request: Request) -> Response:
        form = await read_form(request, PROPERTY_MISSING)
        if form.get("grant_type") != GRANT_TYPE:
            raise RefusalError(400, "Property missing or empty: grant_type", PROPERTY_MISSING)
        api_key = form.get("apikey", "")
        if not api_key:
            raise RefusalError(400, "Property missing or empty: apikey", PROPERTY_MISSING)
        account = self._site.account_of_api_key(api_key)
        if account is None:
            raise RefusalError(400, "Provided API key could not be found.", KEY_NOT_FOUND)
        text, token = self._site.issue_token(account)
        return JSONResponse(
            {
                "access_token": text,
                "refresh_token": "not_supported",
                "token_type": "Bearer",
                "expires_in": self._site.token_lifetime_seconds,
                "expiration": int(token.expires_at),
                "scope": "ibm openid",
            },
            headers={"Cache-Control": "no-store"},
        )


def bearer_token(request: Request, site: Site) -> Token | None:
    """Return the valid bearer token that the request carries."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    return site.token(text.strip()) if scheme.lower() == "bearer" else None


def ibm_environment(prefix: str, service_url: str, base_url: str) -> dict[str, str]:
    """Return the four variables of a resource of an IBM type, whose names begin with `prefix`."""
    return {
        f"{prefix}ENDPOINT": service_url,
        f"{prefix}IAM_ENDPOINT": f"{base_url}{Iam.prefix}",
        f"{prefix}IAM_APIKEY": API_KEY,
        f"{prefix}SERVICE_CRN": SERVICE_CRN,
    }
