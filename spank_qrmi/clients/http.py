# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to vendors' services within a deadline.

The only module that knows httpx and its exceptions. What a request means, and how it is authorised,
is the clients' business; when it is made again is decided in `retry`.
"""

import logging
import queue
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from urllib.parse import urlencode

import httpx
import orjson

from spank_qrmi import __version__
from spank_qrmi.clients.answer import Answer
from spank_qrmi.clients.retry import Budget, RequestError, repeat, status_failure
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ServiceError
from spank_qrmi.redaction import printable

OPERATION_TIMEOUT_SECONDS = 30.0
"""Longest silence of a service within one try: connecting, sending, or between two pieces read."""

BODY_LIMIT_BYTES = 1024 * 1024

USER_AGENT = f"spank-qrmi/{__version__}"

_CANCEL_CHECK_SECONDS = 0.1
_SHOWN_PATH_LIMIT = 200
_DEFAULT_PORTS = {"http": 80, "https": 443}

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_NOT_ANSWERED = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)
_NOT_MADE = (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError)
_NOT_SET_UP = (OSError, ValueError, ImportError)

_log = logging.getLogger("spank_qrmi.clients")


@dataclass(frozen=True)
class _Request:
    """One request, ready to be sent as often as needed."""

    method: str
    url: httpx.URL
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    is_repeatable: bool

    @property
    def host(self) -> str:
        """Return host and port."""
        name = self.url.raw_host.decode("ascii", "replace")
        name = f"[{name}]" if ":" in name else name
        return f"{name}:{self.url.port or _DEFAULT_PORTS[self.url.scheme]}"

    @property
    def path(self) -> str:
        """Return the path as sent, without the query."""
        return self.url.raw_path.partition(b"?")[0].decode("ascii", "replace")[:_SHOWN_PATH_LIMIT]

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        return printable(f"{self.url.scheme}://{self.host}")

    @property
    def source(self) -> str:
        """Return the URL without user name and query."""
        return printable(f"{self.origin}{self.path}")


class HttpClient:
    """Makes all requests of one piece of work; may be used from several threads at once.

    No call returns later than the deadline. Proxies and certificates come from the process
    environment (http_proxy, https_proxy, no_proxy, SSL_CERT_FILE, SSL_CERT_DIR).
    """

    def __init__(self, deadline: Deadline, *, transport: httpx.BaseTransport | None = None) -> None:
        self._deadline = deadline
        self._transport = transport
        self._client: httpx.Client | None = None
        self._client_lock = threading.Lock()

    def __enter__(self) -> "HttpClient":
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._client_lock:
            if self._client is not None:
                self._client.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        form: Mapping[str, str] | None = None,
        is_repeatable: bool,
        share: float = 1.0,
    ) -> Answer:
        """Make a request and return the answer, whose status is below 300 or an ordinary 4xx.

        `share` (0 to 1) is the part of the remaining time that it may use, its retries included.
        `is_repeatable` says that asking twice does no harm. The values of `headers` and `form` are
        masked in every text made from the answer. Raises ServiceError for everything else: no
        connection, no or too long an answer, a redirect, and 408, 423, 429 and 5xx that last.
        """
        budget = Budget(self._deadline, share)
        with _as_service_errors(None, 0.0):
            body_type, body = _encoded(json, form)
            request = _Request(
                method=method,
                url=_checked_url(url, query),
                headers=_all_headers(headers, body_type),
                content=body,
                secrets=_secrets(headers, form),
                is_repeatable=is_repeatable,
            )
        return repeat(lambda: self._try(request, budget), budget)

    def _try(self, request: _Request, budget: Budget) -> Answer:
        """Send the request once; raise RequestError unless it has a usable status."""
        seconds = budget.remaining_seconds()
        if seconds <= 0:
            message = f"no time is left to ask {request.source}"
            raise RequestError(message)
        started_at = time.monotonic()
        outcome = self._outcome_within(request, seconds)
        status = outcome.status if outcome.status is not None else "no answer"
        milliseconds = round((time.monotonic() - started_at) * 1000)
        place = (request.host, request.path)
        _log.debug("%s %s%s: %s, %d ms", request.method, *place, status, milliseconds)
        if isinstance(outcome, ServiceError):
            raise outcome
        failure = status_failure(outcome, is_repeatable=request.is_repeatable)
        if failure is not None:
            raise failure
        return outcome

    def _outcome_within(self, request: _Request, seconds: float) -> Answer | ServiceError:
        """Return what became of one exchange, or that nothing did within `seconds`.

        A name server that does not answer, or headers that come byte by byte, cannot be timed out
        from inside, so the exchange has a thread of its own that may be left behind.
        """
        ends_at = time.monotonic() + seconds
        outcomes: queue.SimpleQueue[Answer | ServiceError] = queue.SimpleQueue()
        arguments = (request, min(OPERATION_TIMEOUT_SECONDS, seconds), ends_at, outcomes)
        threading.Thread(target=self._exchange, args=arguments, daemon=True).start()
        while (left_seconds := ends_at - time.monotonic()) > 0:
            try:
                return outcomes.get(timeout=min(left_seconds, _CANCEL_CHECK_SECONDS))
            except queue.Empty:
                # What opens a session is waited for even then: its answer says what to close.
                if request.is_repeatable and self._deadline.has_passed():
                    break
        return RequestError(
            f"no answer from {request.source} in the time that was left",
            may_have_acted=not request.is_repeatable,
        )

    def _exchange(
        self,
        request: _Request,
        timeout_seconds: float,
        ends_at: float,
        outcomes: "queue.SimpleQueue[Answer | ServiceError]",
    ) -> None:
        """Send the request and put its answer or failure into `outcomes`."""
        try:
            with _as_service_errors(request, timeout_seconds):
                outcomes.put(self._send(request, timeout_seconds, ends_at))
        except ServiceError as error:
            outcomes.put(error)
        finally:
            # Read only if nothing came before it, so that no end of this thread leaves one waiting.
            message = f"the request to {request.source} ended without an answer"
            outcomes.put(RequestError(message, may_have_acted=not request.is_repeatable))

    def _send(self, request: _Request, timeout_seconds: float, ends_at: float) -> Answer:
        """Send the request and read the whole answer, without following it anywhere."""

        def refuse_late_sending(event: str, _details: object) -> None:
            # After `ends_at` nobody waits any more, and a session would open that nobody knows of.
            if event.endswith("send_request_headers.started") and time.monotonic() >= ends_at:
                message = f"no time is left to ask {request.source}"
                raise RequestError(message)

        with self._opened_client().stream(
            request.method,
            request.url,
            headers=request.headers,
            content=request.content,
            timeout=timeout_seconds,
            follow_redirects=False,
            extensions={"trace": refuse_late_sending},
        ) as response:
            return Answer(
                status=response.status_code,
                source=request.source,
                headers=dict(response.headers),
                body=_read_body(response, request, ends_at),
                sent_secrets=request.secrets,
            )

    def _opened_client(self) -> httpx.Client:
        """Return the httpx client; opened at the first request, as its TLS context takes long."""
        with self._client_lock:
            if self._client is None:
                for name in ("httpx", "httpcore"):
                    # Their records hold URLs with queries, and headers.
                    logging.getLogger(name).setLevel(logging.WARNING)
                # What one resource's service stores must not ride on a request for another.
                no_cookies = CookieJar(policy=DefaultCookiePolicy(allowed_domains=()))
                self._client = httpx.Client(transport=self._transport, cookies=no_cookies)
            return self._client


def _checked_url(url: str, query: Mapping[str, str] | None) -> httpx.URL:
    """Return the URL; raise an httpx error if nothing can be sent there."""
    checked = httpx.URL(url, params=query) if query else httpx.URL(url)
    if checked.scheme not in _DEFAULT_PORTS or not checked.host:
        raise httpx.UnsupportedProtocol("neither http nor https, or no host")
    return checked


def _encoded(
    json: Mapping[str, object] | None, form: Mapping[str, str] | None
) -> tuple[str | None, bytes | None]:
    """Return the content type and the bytes of the body."""
    if json is not None:
        return "application/json", orjson.dumps(json)
    if form is not None:
        return "application/x-www-form-urlencoded", urlencode(form).encode()
    return None, None


def _secrets(headers: Mapping[str, str], form: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return every value that proves who we are."""
    values = [value.removeprefix("Bearer ") for value in headers.values()]
    return (*values, *(form or {}).values())


def _all_headers(headers: Mapping[str, str], body_type: str | None) -> dict[str, str]:
    """Return `headers` with our own; raise RequestError if one holds what cannot be sent."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            message = f"the value of the header {name} has characters that cannot be sent"
            raise RequestError(message)
    return {
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        # A compressed body could unpack to far more than the limit before it is noticed.
        "Accept-Encoding": "identity",
        **({"Content-Type": body_type} if body_type else {}),
        **headers,
    }


def _read_body(response: httpx.Response, request: _Request, ends_at: float) -> bytes:
    """Return the whole body; raise RequestError if it is too large or comes too slowly."""
    body = bytearray()
    may_have_acted = not request.is_repeatable
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > BODY_LIMIT_BYTES:
            message = f"the answer of {request.source} is larger than 1 MiB"
            raise RequestError(message, may_have_acted=may_have_acted)
        if time.monotonic() >= ends_at:
            message = f"the answer of {request.source} did not end in time"
            raise RequestError(message, may_have_acted=may_have_acted)
    return bytes(body)


@contextmanager
def _as_service_errors(request: _Request | None, timeout_seconds: float) -> Iterator[None]:
    """Turn every exception of the HTTP libraries into RequestError.

    `request` is None while it is being made. No exception's own text is used, it may hold headers.
    """
    try:
        yield
    except ServiceError:
        raise
    except Exception as error:
        if request is None:
            message = "an endpoint's URL cannot be used: correct the resource's endpoints"
            raise RequestError(message) from error
        was_not_sent = isinstance(error, (*_NOT_SENT, *_NOT_MADE, *_NOT_SET_UP))
        raise RequestError(
            _failure_text(error, request, _seconds_text(timeout_seconds)),
            may_have_acted=not (was_not_sent or request.is_repeatable),
            is_worth_repeating=_is_worth_repeating(error, is_repeatable=request.is_repeatable),
        ) from error


def _is_worth_repeating(error: Exception, *, is_repeatable: bool) -> bool:
    """Return whether the same request is safe to make again and may then succeed."""
    if isinstance(_operating_system_error(error), ssl.SSLCertVerificationError):
        return False
    return isinstance(error, _NOT_SENT) or (isinstance(error, _NOT_ANSWERED) and is_repeatable)


def _failure_text(error: Exception, request: _Request, seconds: str) -> str:
    """Return what went wrong in one line."""
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            text = f"cannot connect to {request.origin} within {seconds}"
        case httpx.ConnectError():
            text = f"cannot connect to {request.origin}{_connection_reason(error)}"
        case httpx.ProxyError():
            text = f"the proxy does not connect us to {request.origin}: check the proxy settings"
        case httpx.TimeoutException():
            text = f"no answer from {request.source} within {seconds}"
        case httpx.NetworkError() | httpx.RemoteProtocolError():
            text = f"the connection broke before the answer of {request.source} was complete"
        case OSError() | ValueError() | ImportError():
            # httpx raises these for a proxy or a file of certificates that it cannot use.
            text = (
                f"cannot prepare the request to {request.origin}: check http_proxy, https_proxy "
                f"and SSL_CERT_FILE of the worker ({type(error).__name__})"
            )
        case _:
            text = f"the request to {request.source} failed ({type(error).__name__})"
    return text


def _connection_reason(error: Exception) -> str:
    """Return the operating system's or TLS library's reason after a colon, or nothing."""
    match _operating_system_error(error):
        case ssl.SSLCertVerificationError() as cause:
            return (
                f": its certificate is not trusted ({printable(cause.verify_message)}); set "
                "SSL_CERT_FILE to the site's certificates if it is the site's own"
            )
        case ssl.SSLError() as cause:
            reason = str(getattr(cause, "reason", None) or "failed").replace("_", " ").lower()
            return f": TLS: {printable(reason)}"
        case OSError(strerror=str(reason)) if reason:
            return f": {printable(reason[:1].lower() + reason[1:])}"
    return ""


def _operating_system_error(error: BaseException | None) -> OSError | None:
    """Return the OSError that `error` was raised from, None if there is none."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _seconds_text(seconds: float) -> str:
    """Return whole seconds with their unit, at least 1."""
    return f"{max(1, round(seconds))} s"
