# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use Qiskit Runtime, and queries and errors that its endpoints have in common."""

import uuid
from collections.abc import Mapping

from starlette.requests import Request

from spank_qrmi_simulator.answers import RefusalError
from spank_qrmi_simulator.iam import bearer_token
from spank_qrmi_simulator.ibm_backends import Backend
from spank_qrmi_simulator.sessions import Session
from spank_qrmi_simulator.site import Account, Site

NOT_AUTHORISED = "1200"
LONGEST_NUMBER = 7


def error_document(status: int, code: str | None, message: str) -> dict[str, object]:
    """Return an error as the API words it; its codes are numbers."""
    error = {
        "code": int(code) if code else status,
        "message": message,
        "solution": "Check the request.",
        "more_info": "https://docs.simulator.invalid/errors",
    }
    return {"trace": str(uuid.uuid4()), "errors": [error]}


def authorise(request: Request, site: Site) -> Account:
    """Return the account that asks; raise RefusalError (401, 403) if it may not."""
    token = bearer_token(request, site)
    if token is None:
        message = "You are not authorized to perform this action."
        raise RefusalError(401, message, NOT_AUTHORISED)
    if request.headers.get("service-crn") != token.account.service_crn:
        raise RefusalError(403, "The account may not use this instance.", NOT_AUTHORISED)
    return token.account


def own_session(site: Site, account: Account, session_id: str) -> Session:
    """Return the account's session of that id; raise RefusalError (404)."""
    session = site.session(session_id)
    if session is None or session.service_crn != account.service_crn:
        raise RefusalError(404, "Session not found.")
    return session


def known_backend(site: Site, name: object) -> Backend:
    """Return the backend of that name; raise RefusalError (400, 404)."""
    if not isinstance(name, str):
        raise RefusalError(400, "backend must be a name")
    backend = site.qiskit_runtime_backends.get(name)
    if backend is None:
        message = f"Backend {name} not found."
        raise RefusalError(404, message)
    return backend


def query_integer(query: Mapping[str, str], key: str, default: int, bounds: tuple[int, int]) -> int:
    """Return a number of the query; raise RefusalError (400) if it is none within the bounds."""
    text = query.get(key, str(default))
    # The length first: Python refuses to convert very long numbers.
    is_short_number = len(text) <= LONGEST_NUMBER and text.isascii() and text.isdecimal()
    if not is_short_number or not bounds[0] <= int(text) <= bounds[1]:
        message = f"{key} must be an integer between {bounds[0]} and {bounds[1]}"
        raise RefusalError(400, message)
    return int(text)


def query_boolean(query: Mapping[str, str], key: str) -> bool | None:
    """Return a flag of the query, None if absent; raise RefusalError (400) if it is none."""
    text = query.get(key)
    if text not in (None, "true", "false"):
        message = f"{key} must be true or false"
        raise RefusalError(400, message)
    return None if text is None else text == "true"
