# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids of sessions that services open: which texts can be one, and where a response tells one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from spank_qrmi.clients.response import Response
from spank_qrmi.errors import ServiceError

# "." and ".." would turn the session's URL into another one.
_SESSION_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,256}")

# What is in another string is neither; the last one may have been cut off.
_BRACE_OR_ID_OR_STRING = re.compile(
    rb'(?s:[{}]|"id"\s*:\s*"([A-Za-z0-9._-]{1,256})"|"[^"\\]*(?:\\.[^"\\]*)*"?)'
)


def is_session_id(text: str) -> bool:
    """Return whether `text` can be the id of a session, and one segment of a URL's path."""
    return _SESSION_ID.fullmatch(text) is not None


def session_id_of(response: Response) -> str:
    """Return the id of the session that was opened; the rest of the response is not needed.

    Raises ServiceError with `may_have_acted` and `partial_body` if there is none.
    """
    try:
        session_id = response.json_object().get("id")
        if isinstance(session_id, str) and is_session_id(session_id):
            return session_id
    except ServiceError as error:
        error.may_have_acted = True
        error.partial_body = response.body
        raise
    raise response.unusable_error("holds no usable session id", may_have_acted=True)


@contextmanager
def keep_readable_id() -> Iterator[None]:
    """Let a ServiceError of a session that may be open tell its id, if a response began with it."""
    try:
        yield
    except ServiceError as error:
        if error.may_have_acted:
            error.token = _readable_session_id(error.partial_body)
        raise


def _readable_session_id(partial_body: bytes) -> str | None:
    """Return the id of the session that the beginning of a broken response tells, None if none."""
    depth = 0
    for found in _BRACE_OR_ID_OR_STRING.finditer(partial_body):
        if found[1] is None:
            depth += {b"{": 1, b"}": -1}.get(found[0], 0)
        elif depth == 1:
            # Deeper, it is the id of something else.
            session_id = found[1].decode("ascii")
            return session_id if is_session_id(session_id) else None
    return None
