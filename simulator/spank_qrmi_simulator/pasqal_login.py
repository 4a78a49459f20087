# SPDX-License-Identifier: GPL-3.0-or-later
"""Pasqal Cloud's token endpoint: a user's and a service account's login.

The forms are those that the public client sends; refusals are worded as in RFC 6749, section 5.2,
with the statuses of Auth0, which runs the service's endpoint.
"""

from collections.abc import Mapping
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spank_qrmi_simulator.answers import RefusalError, Vendor, read_form
from spank_qrmi_simulator.site import Site

USER_GRANT = "http://auth0.com/oauth/grant-type/password-realm"
SERVICE_ACCOUNT_GRANT = "client_credentials"
AUDIENCE = "https://apis.pasqal.cloud/account/api/v1"
REALM = "pcs-users"
PUBLIC_CLIENT_ID = "PeZvo7Atx7IVv3iel59asJSb4Ig7vuSB"
"""The client id that every user's login gives; it is no secret."""

USERNAME = "simulator-user"
PASSWORD = "simulator-password"  # noqa: S105 (a made-up one)
CLIENT_ID = "simulator-client"
CLIENT_SECRET = "simulator-client-secret"  # noqa: S105 (a made-up one)


class PasqalLogin(Vendor):
    """The token endpoint."""

    prefix = "/pasqal/oauth"
    secrets: ClassVar[Mapping[str, str]] = {
        "Pasqal's password": PASSWORD,
        # How each begins that is issued here.
        "JSON web token": "eyJhbGciOiJIUzI1NiIs",
    }

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Return the endpoints, with full paths."""
        return [Route(f"{self.prefix}/token", self._issue_token, methods=["POST"])]

    def error_body(self, status: int, code: str | None, message: str) -> dict[str, object]:
        """Return an error as RFC 6749 words it."""
        return {"error": code or "invalid_request", "error_description": message}

    async def _issue_token(self, request: Request) -> Response:
        form = await read_form(request)
        grant = form.get("grant_type", "")
        if grant == USER_GRANT:
            subject = _user(form)
        elif grant == SERVICE_ACCOUNT_GRANT:
            subject = _service_account(form)
        else:
            raise RefusalError(403, "Unsupported grant type", "unsupported_grant_type")
        if form.get("audience") != AUDIENCE:
            raise RefusalError(403, "Service not found", "access_denied")
        tokens = self._site.pasqal_tokens
        return JSONResponse(
            {
                "access_token": tokens.issue(subject, AUDIENCE),
                "expires_in": tokens.lifetime_seconds,
                "token_type": "Bearer",
            },
            headers={"Cache-Control": "no-store"},
        )


def _user(form: Mapping[str, str]) -> str:
    if form.get("client_id") != PUBLIC_CLIENT_ID:
        raise RefusalError(401, "Unauthorized", "access_denied")
    if form.get("realm") != REALM:
        raise RefusalError(403, "Unknown realm", "invalid_request")
    if (form.get("username"), form.get("password")) != (USERNAME, PASSWORD):
        raise RefusalError(403, "Wrong email or password.", "invalid_grant")
    return USERNAME


def _service_account(form: Mapping[str, str]) -> str:
    if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
        raise RefusalError(401, "Unauthorized", "access_denied")
    return CLIENT_ID
