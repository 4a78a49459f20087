# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam between what a request means and how it travels.

`http` sees requests, answers and the errors below, and whatever carries them is a `Transport`.
"""

import time
from collections.abc import Callable, Iterator, Mapping

from spank_qrmi.clients.http1 import SUCCESS
from spank_qrmi.clients.url import Url
from spank_qrmi.light.type_hints import Protocol
from spank_qrmi.redaction import printable, without

_SHOWN_PATH_LIMIT = 200


class TransportError(Exception):
    """The request may have reached the service, and there is no whole answer."""


class AnswerTimeoutError(TransportError):
    """The service was silent for too long, or the time for all of it is over."""


class BrokenConnectionError(TransportError):
    """The connection ended before the answer was whole, or what came is no answer."""


class NoAnswerError(BrokenConnectionError):
    """The connection ended before the first byte of an answer."""


class NotSentError(TransportError):
    """Nothing of the request has left."""


class SettingsError(NotSentError):
    """Proxies or certificates cannot be used; the text says which and what to do."""


class ConnectTimeoutError(NotSentError):
    """No connection came about in time."""


class ConnectError(NotSentError):
    """The service cannot be reached, for a reason in a few words; it may be empty."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class UntrustedError(ConnectError):
    """The certificate of the service is not trusted, so trying again is of no use."""


class ProxyError(NotSentError):
    """The proxy does not lead to the service; `status` is what it answered, if it did."""

    def __init__(self, status: int | None = None) -> None:
        super().__init__(status)
        self.status = status


class Request:
    """One request, ready to be sent as often as needed. Its `repr` shows none of it."""

    def __init__(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        content: bytes | None,
        secrets: tuple[str, ...] = (),
        *,
        is_repeatable: bool,
    ) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.content = content
        self.secrets = secrets
        self.is_repeatable = is_repeatable

    @property
    def path(self) -> str:
        """Return the path without the query and what is secret in it."""
        return without(self.secrets, self.url.path)[:_SHOWN_PATH_LIMIT]

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        return printable(f"{self.url.scheme}://{self.url.authority}")

    @property
    def source(self) -> str:
        """Return the URL without the query."""
        return printable(f"{self.origin}{self.path}")


class Limits:
    """How long one exchange may take: `ends_at` on the monotonic clock, silence in seconds."""

    def __init__(self, silence_seconds: float, ends_at: float) -> None:
        self.silence_seconds = silence_seconds
        self.ends_at = ends_at

    def next_seconds(self) -> float:
        """Return how long to wait for what comes next.

        Raises TimeoutError if the time is over. That bounds no single wait: who waits for the
        exchange ends it, and says so.
        """
        if time.monotonic() >= self.ends_at:
            raise TimeoutError
        return self.silence_seconds


class Response:
    """The head of an answer, and its body in pieces as they come. Header names are in lower case.

    Reading the body raises TransportError. `close` is called when no more of it is read.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        pieces: Iterator[bytes],
        close: Callable[[], None],
    ) -> None:
        self.status = status
        self.headers = headers
        self.pieces = pieces
        self.close = close

    @property
    def is_success(self) -> bool:
        """Return whether the status is 2xx."""
        return self.status in SUCCESS


class Transport(Protocol):
    """Carries requests; used from several threads at once."""

    def send(
        self, request: Request, limits: Limits, before_sending: Callable[[], None]
    ) -> Response:
        """Send the request and return the head of its answer.

        `before_sending` is called when the way is open and nothing of the request has left; what it
        raises is passed on. Raises TransportError.
        """

    def close(self) -> None:
        """Close what is kept for further requests."""
