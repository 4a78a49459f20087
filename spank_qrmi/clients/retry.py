# SPDX-License-Identifier: GPL-3.0-or-later
"""When a request is made again, how long to wait before, and when to give up.

Pure policy: it sees responses and failures, never a connection.
"""

import random
import time
from collections.abc import Callable
from email.utils import mktime_tz, parsedate_tz
from http import HTTPStatus
from typing import Any

from spank_qrmi.clients.response import Response
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ServiceError

DELAYS_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Waits between the tries of one request."""

MOST_TRIES = len(DELAYS_SECONDS) + 1

_JITTER = 0.25
_RETRY_AFTER_DIGITS = 9


class RequestError(ServiceError):
    """One try of a request failed; `is_worth_repeating` says if another is safe and useful."""

    def __init__(self, message: str, *, is_worth_repeating: bool = False, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.is_worth_repeating = is_worth_repeating


def repeat(attempt: Callable[[], Response], deadline: Deadline, max_tries: int) -> Response:
    """Return the response of `attempt`, made again while that is useful and fits the deadline.

    `attempt` raises RequestError. Raises ServiceError with the last reason and why it was final.
    """
    tries = 0
    while True:
        tries += 1
        try:
            return attempt()
        except RequestError as failure:
            if max_tries == 1 or not failure.is_worth_repeating:
                raise
            give_up_reason = _wait_before_next(failure, tries, max_tries, deadline)
            if give_up_reason:
                failure.args = (f"{failure}; {give_up_reason}",)
                raise


def _wait_before_next(failure: RequestError, tries: int, max_tries: int, deadline: Deadline) -> str:
    """Wait until the next try may be made; return why there is none, or an empty string."""
    if tries >= max_tries:
        return f"gave up after {tries} tries"
    # What failed together must not be made again together.
    seconds = DELAYS_SECONDS[tries - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)
    asked_seconds = failure.retry_after_seconds or 0.0
    if deadline.wait(max(seconds, asked_seconds)):
        return ""
    if asked_seconds > seconds:
        return f"the service asks to wait {asked_seconds:.0f} s, which is longer than we may"
    return f"gave up after {tries} {'try' if tries == 1 else 'tries'}, no time is left"


def status_failure(response: Response, *, is_repeatable: bool) -> RequestError | None:
    """Return what is wrong with the status of `response`, None if the client is to judge it.

    408, 423, 429 and 5xx may pass with time; a request that is not repeatable is made again only
    where the service says that it did not act.
    """
    status = response.status
    is_server_error = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    did_not_act = status in {HTTPStatus.LOCKED, HTTPStatus.TOO_MANY_REQUESTS} or (
        status == HTTPStatus.SERVICE_UNAVAILABLE and "retry-after" in response.headers
    )
    if not (is_server_error or did_not_act or status == HTTPStatus.REQUEST_TIMEOUT):
        return None
    return RequestError(
        f"{response.source} answered {response.status_text()}",
        status=status,
        may_have_acted=is_server_error and not did_not_act and not is_repeatable,
        is_worth_repeating=did_not_act or is_repeatable,
        retry_after_seconds=_retry_after_seconds(response.headers.get("retry-after", "")),
    )


def _retry_after_seconds(text: str) -> float | None:
    """Return the wait that a Retry-After header asks for (RFC 9110, 10.2.3), None if unusable."""
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:_RETRY_AFTER_DIGITS])
    try:
        parts = parsedate_tz(text)
        return None if parts is None else max(0.0, mktime_tz(parts) - time.time())
    except (IndexError, OverflowError, TypeError, ValueError):
        return None
