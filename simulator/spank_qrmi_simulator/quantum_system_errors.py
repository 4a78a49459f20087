# SPDX-License-Identifier: GPL-3.0-or-later
"""Error bodies of Direct Access, now the Quantum System API; its codes are strings."""

import uuid
from collections.abc import Mapping, Sequence

NOT_AUTHENTICATED = "1201"
NOT_AUTHORISED = "1200"
BACKEND_NOT_FOUND = "1216"
JOB_EXISTS = "1231"
NO_LANE_FREE = "1232"
BACKEND_RESERVED = "1233"
JOB_NOT_FOUND = "1291"
NOT_CANCELLABLE = "1306"
INVALID_INPUT = "1337"
CODES_OF_STATUSES: Mapping[int, str] = {
    400: INVALID_INPUT,
    401: NOT_AUTHENTICATED,
    423: BACKEND_RESERVED,
    429: NO_LANE_FREE,
}
"""What an error means that has no code of its own, an ordered fault for instance."""


def error_entry(code: str, message: str) -> dict[str, object]:
    """Return one entry of an error body."""
    return {"code": code, "message": message, "more_info": "https://docs.simulator.invalid/errors"}


def field_entry(code: str, message: str, field: str) -> dict[str, object]:
    """Return an entry about one field of the body, for instance `storage.input.type`."""
    target = {"name": field, "type": "field"}
    return {**error_entry(code, message), "location": field, "target": target}


def error_document(
    status: int, title: str, entries: Sequence[Mapping[str, object]]
) -> dict[str, object]:
    """Return a whole error body."""
    return {
        "status_code": status,
        "title": title,
        "trace": str(uuid.uuid4()),
        "errors": list(entries),
    }
