# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use Direct Access: tokens of IAM with a service CRN, or of its own older App ID."""

import base64

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spank_qrmi_simulator.answers import RefusalError
from spank_qrmi_simulator.iam import bearer_token
from spank_qrmi_simulator.quantum_system_errors import NOT_AUTHENTICATED, NOT_AUTHORISED
from spank_qrmi_simulator.site import APP_ID_CLIENT_ID, APP_ID_SECRET, Site


def authorise(request: Request, site: Site) -> None:
    """Raise RefusalError (401) unless the request may use the service instance."""
    token = bearer_token(request, site)
    if token is None:
        raise RefusalError(401, "The bearer token is missing or not valid.", NOT_AUTHENTICATED)
    crn = request.headers.get("service-crn")
    has_instance = token.is_app_id or crn == token.account.service_crn
    if token.account.is_open_plan or not has_instance:
        raise RefusalError(401, "Not authorised for this service instance.", NOT_AUTHORISED)


class AppId:
    """The endpoint of App ID's tokens."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def route(self, path: str) -> Route:
        """Return the endpoint at `path`."""
        return Route(path, self._issue_token, methods=["POST"])

    async def _issue_token(self, request: Request) -> Response:
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            raise RefusalError(401, "The client's credentials are missing.", NOT_AUTHORISED)
        if _decoded(credentials) != f"{APP_ID_CLIENT_ID}:{APP_ID_SECRET}":
            raise RefusalError(401, "The client's credentials are wrong.", NOT_AUTHENTICATED)
        text, _ = self._site.issue_token(self._site.accounts[0], is_app_id=True)
        return JSONResponse(
            {
                "access_token": text,
                "token_type": "Bearer",
                "expires_in": self._site.token_lifetime_seconds,
            },
            headers={"Cache-Control": "no-store"},
        )


def _decoded(credentials: str) -> str | None:
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode()
    # Not ASCII, not base64, or not UTF-8 within.
    except ValueError:
        return None
