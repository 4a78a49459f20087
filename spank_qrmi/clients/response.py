# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service answered, as the clients read it.

Owns the step from hostile bytes to checked values and to text that can be shown to a user; nothing
here sends anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import responses

import orjson

from spank_qrmi.errors import AuthenticationError, ServiceError
from spank_qrmi.redaction import printable, without, without_url_secrets

_TEXT_LIMIT = 200
"""Characters of a service's own text that are shown; the rest adds noise to a one-line message."""


@dataclass(frozen=True)
class Response:
    """One complete HTTP response.

    `source` is the URL that was asked without user name and query; `headers` has lower-case names;
    `sent_secrets` are the values that must not be shown if the service repeats them.
    """

    status: int
    source: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    sent_secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_success(self) -> bool:
        """Return whether the status is 2xx."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def json_value(self, address_variable: str = "") -> object:
        """Return the body as JSON; raise ServiceError if it is anything else.

        Pages of another address than the API's are the usual cause: the error names the variable.
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise self.unusable_error(f"is not JSON{_hint(address_variable)}") from error

    def json_object(self, address_variable: str = "") -> dict[str, object]:
        """Return the body as a JSON object, see `json_value`."""
        value = self.json_value(address_variable)
        if not isinstance(value, dict):
            raise self.unusable_error(f"is not a JSON object{_hint(address_variable)}")
        return value

    def unusable_error(self, problem: str, *, may_have_acted: bool = False) -> ServiceError:
        """Return the error for a body that does not hold what it should."""
        text = f"the answer of {self.source} {problem}"
        return ServiceError(text, status=self.status, may_have_acted=may_have_acted)

    def refusal(self, text: str) -> ServiceError:
        """Return the error for a status that is no success."""
        is_of_login = self.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        return (AuthenticationError if is_of_login else ServiceError)(text, status=self.status)

    def shown(self, value: object) -> str:
        """Return a text of the response as it may be shown to a user, at most 200 characters.

        Empty if `value` is no string. What we sent as a secret, and what a URL may hold of such,
        becomes `****`.
        """
        if not isinstance(value, str):
            return ""
        text = without_url_secrets(without(self.sent_secrets, value))
        return printable(text.strip()[:_TEXT_LIMIT])

    def shown_facts(self, facts: Mapping[str, object]) -> str:
        """Return those that are texts or whole numbers, each behind its name."""
        texts = {
            name: self.shown(value if whole_number(value) is None else str(value))
            for name, value in facts.items()
        }
        return ", ".join(f"{name} {text}" for name, text in texts.items() if text)

    def status_text(self) -> str:
        """Return the status, its name and the service's own reason, such as `404 Not Found: …`."""
        text = f"{self.status} {responses.get(self.status, '')}".rstrip()
        reason = error_text(self)
        return f"{text}: {reason}" if reason else text


def _hint(address_variable: str) -> str:
    return f"; check {address_variable}" if address_variable else ""


def whole_number(value: object) -> int | None:
    """Return a value of JSON if it is a whole number."""
    # bool is an int in Python, but not in JSON.
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def error_code(response: Response) -> object:
    """Return the code of the first error that a body of IBM Quantum or IQM names, else None."""
    document = _error_document(response)
    return _first_error(document).get("code", document.get("error_code"))


def error_text(response: Response) -> str:
    """Return the service's own message if the body has a known error shape, else an empty string.

    Shapes: `{"errors": [{"code", "message"}]}` (IBM Quantum), `{"errorCode", "errorMessage"}` (IBM
    Cloud IAM), `{"error": {"code", "message"}}` (Alice & Bob), `{"error_code", "message"}` (IQM),
    `{"message"}` and `{"detail"}` (others).
    """
    document = _error_document(response)
    first_error = _first_error(document)
    shapes: list[tuple[object, object]] = [
        (first_error.get("message"), first_error.get("code")),
        (document.get("errorMessage"), document.get("errorCode")),
        (document.get("message"), document.get("error_code")),
        (document.get("detail"), None),
    ]
    for message, code in shapes:
        if text := response.shown(message):
            code_text = response.shown(str(code) if isinstance(code, int) else code)
            return (f"{text} ({code_text})" if code_text else text)[:_TEXT_LIMIT]
    return ""


def _error_document(response: Response) -> Mapping[str, object]:
    try:
        return response.json_object()
    except ServiceError:
        # An error page without our shapes is ordinary, for example from a proxy on the way.
        return {}


def _first_error(document: Mapping[str, object]) -> Mapping[str, object]:
    errors = document.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else document.get("error")
    return first if isinstance(first, dict) else {}
