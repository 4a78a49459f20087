# SPDX-License-Identifier: GPL-3.0-or-later
"""What the vendors have in common: being a part of the site, refusing a request, reading its body.

Anything that only one vendor does belongs into that vendor's module.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol
from urllib.parse import parse_qsl

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from spank_qrmi_simulator.object_store import ObjectStore
from spank_qrmi_simulator.site import Site

LARGEST_BODY_BYTES = 64 << 20
"""Far more than any job that the simulator can run."""


class RefusalError(HTTPException):
    """The service refuses a request; the vendor of the path gives it its error shape.

    `code` is the vendor's own, None where the vendor's module chooses by the HTTP status.
    """

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(status, message)
        self.code = code


@dataclass(frozen=True)
class Offer:
    """Resources of one type, as qrmi_config.json has them: with all but their names in common."""

    type_name: str
    names: Iterable[str]
    environment: Mapping[str, str]


class Vendor(Protocol):
    """One vendor's part of the site: where its API lives, what it serves and offers.

    What it holds for jobs are sessions of the site's. It keeps what only it has, or the site does.
    """

    prefix: ClassVar[str]

    secrets: ClassVar[Mapping[str, str]] = {}
    """A text that is in every secret of a kind that it issues or asks for, and nowhere else."""

    def __init__(self, site: Site) -> None:
        """Make the part as it is at the start."""

    def routes(self) -> list[Route]:
        """Return the endpoints, with full paths."""

    def error_body(self, status: int, code: str | None, message: str) -> dict[str, object]:
        """Return an error as the vendor words it in JSON."""

    def offers(self, base_url: str, store: ObjectStore | None) -> Sequence[Offer]:
        """Return all resources at the start; `base_url` ends without a slash."""
        return ()

    def machines(self) -> Mapping[str, Any]:
        """Return what can be changed from outside, by name: dataclasses whose first field it is."""
        return {}

    def state(self) -> Mapping[str, object]:
        """Return what is shown of it from outside, as JSON."""
        return {}

    def reset(self) -> None:
        """Go back to the first state; what the site keeps, it has reset."""


def media_type(request: Request) -> str:
    """Return the lower-case content type of a request without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request) -> bytes:
    """Return the body; raise RefusalError (413) if it is larger than any client's."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY_BYTES:
            message = f"the body is larger than {LARGEST_BODY_BYTES} bytes"
            raise RefusalError(413, message)
    return bytes(body)


async def read_json_object(request: Request) -> dict[str, object]:
    """Return the JSON object in the body; raise RefusalError (415, 413, 400) if there is none."""
    if media_type(request) != "application/json":
        raise RefusalError(415, "the body must be application/json")
    try:
        document = orjson.loads(await read_body(request))
    except orjson.JSONDecodeError as error:
        raise RefusalError(400, "the body is not JSON") from error
    if not isinstance(document, dict):
        raise RefusalError(400, "the body must be a JSON object")
    _refuse_deep_nesting(document)
    return document


def _refuse_deep_nesting(document: object) -> None:
    # orjson reads four times as deep as it writes, and a worker gets a document inside of three
    # more objects.
    try:
        orjson.dumps([[[document]]])
    except orjson.JSONEncodeError as error:
        raise RefusalError(400, "the body is nested too deeply") from error


async def read_form(request: Request, code: str | None = None) -> dict[str, str]:
    """Return the form in the body; raise RefusalError (415, 413, 400 with `code`) for none."""
    if media_type(request) != "application/x-www-form-urlencoded":
        raise RefusalError(415, "the body must be application/x-www-form-urlencoded")
    body = await read_body(request)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    except ValueError as error:
        raise RefusalError(400, "The form cannot be read.", code) from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise RefusalError(400, "A property is given twice.", code)
    return form


def refuse_unknown_keys(given: Mapping[str, object], known: frozenset[str]) -> None:
    """Raise RefusalError (400) if a body or query has keys the API does not know."""
    unknown = sorted(given.keys() - known)
    if unknown:
        message = f"unknown: {', '.join(unknown)}"
        raise RefusalError(400, message)
