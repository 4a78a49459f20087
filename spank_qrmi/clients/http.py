# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to vendors' services within a deadline.

The only module that knows httpx and its exceptions. What a request means, and how it is authorised,
is the clients' business; when it is made again is decided in `retry`.
"""

import copy
import logging
import math
import os
import queue
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from urllib.parse import urlencode

import httpx

from spank_qrmi import __version__, log, strict_json
from spank_qrmi.clients.answer import Answer
from spank_qrmi.clients.base import LATE_ANSWER_SECONDS
from spank_qrmi.clients.retry import (
    MOST_TRIES,
    UNREADABLE_ADDRESS,
    Budget,
    RequestError,
    redirect_text,
    repeat,
    status_failure,
)
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ServiceError
from spank_qrmi.records import dataclass, field
from spank_qrmi.redaction import printable, without

OPERATION_TIMEOUT_SECONDS = 30.0
"""Longest silence of a service within one try: connecting, sending, or between two pieces read.
A client that limits its tries has that limit for it."""

BODY_LIMIT_BYTES = 1024 * 1024

USER_AGENT = f"spank-qrmi/{__version__}"

_CANCEL_CHECK_SECONDS = 0.1
_SHOWN_PATH_LIMIT = 200
_DEFAULT_PORTS = {"http": 80, "https": 443}

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_NOT_ANSWERED = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)
_NOT_MADE = (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError)
_NOT_SET_UP = (OSError, ValueError, ImportError)

_environment_lock = threading.Lock()


@dataclass(frozen=True)
class _Request:
    """One request, ready to be sent as often as needed."""

    method: str
    url: httpx.URL = field(repr=False)
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
        """Return the path without the query and what is secret in it."""
        path = self.url.raw_path.partition(b"?")[0].decode("ascii", "replace")
        return without(self.secrets, path)[:_SHOWN_PATH_LIMIT]

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        return printable(f"{self.url.scheme}://{self.host}")

    @property
    def source(self) -> str:
        """Return the URL without user name and query."""
        return printable(f"{self.origin}{self.path}")


class _Exchange:
    """One try of a request, as far as it has come; all times are of the monotonic clock.

    `was_sent` says that the service may have seen some of it, `received` is what there is of the
    body of a successful answer.
    """

    def __init__(self, request: _Request, seconds: float, silence_seconds: float) -> None:
        late_seconds = 0.0 if request.is_repeatable else LATE_ANSWER_SECONDS
        self.request = request
        self.send_by = time.monotonic() + seconds
        self.ends_at = self.send_by + late_seconds
        self.timeout_seconds = min(silence_seconds, seconds + late_seconds)
        self.outcomes: queue.SimpleQueue[Answer | ServiceError] = queue.SimpleQueue()
        self.was_sent = False
        self.received = bytearray()


class HttpClient:
    """Makes all requests of one piece of work; may be used from several threads at once.

    No call returns later than the deadline, but for LATE_ANSWER_SECONDS; none takes longer than
    `request_seconds`, its retries included, and no try longer than `try_seconds`. Proxies and
    certificates come from the process environment (http_proxy, https_proxy, no_proxy,
    SSL_CERT_FILE, SSL_CERT_DIR).
    """

    def __init__(
        self,
        deadline: Deadline,
        *,
        request_seconds: float = math.inf,
        try_seconds: float | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._deadline = deadline
        self._request_seconds = request_seconds
        self._try_seconds = math.inf if try_seconds is None else try_seconds
        self._silence_seconds = OPERATION_TIMEOUT_SECONDS if try_seconds is None else try_seconds
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

    def within(self, deadline: Deadline) -> "HttpClient":
        """Return the same open client, its connections included, for work with this deadline."""
        other = copy.copy(self)
        other._deadline = deadline
        return other

    def open_with(self, environment: Mapping[str, str]) -> None:
        """Take proxies and certificates from these variables where they differ from the process's.

        Called before the first request, for all clients of a process or for none: the variables of
        one must not reach another. Raises ServiceError if they cannot be used.
        """
        with _environment_lock:
            before = {name: os.environ.get(name) for name in environment}
            try:
                os.environ.update(environment)
                self._opened_client()
            except _NOT_SET_UP as error:
                message = (
                    "cannot prepare requests: check http_proxy, https_proxy and SSL_CERT_FILE of "
                    f"the worker ({type(error).__name__})"
                )
                raise ServiceError(message) from error
            finally:
                for name, value in before.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        form: Mapping[str, str] | None = None,
        secrets: tuple[str, ...] = (),
        is_repeatable: bool,
        share: float = 1.0,
        max_tries: int = MOST_TRIES,
    ) -> Answer:
        """Make a request and return the answer, whose status is below 300 or an ordinary 4xx.

        `share` (0 to 1) is the part of the remaining time that it may use, its retries included,
        of which there are at most `max_tries` - 1.
        `is_repeatable` says that asking twice does no harm. The values of `headers` and `form`, and
        `secrets` of the URL, are masked in every text made from request and answer. Raises
        ServiceError for everything else: no connection, no or too long an answer, a redirect, and
        408, 423, 429 and 5xx that last.
        """
        budget = Budget(self._deadline, share, self._request_seconds)
        with _as_service_errors(None, 0.0):
            body_type, body = _encoded(json, form)
            request = _Request(
                method=method,
                url=_checked_url(url, query),
                headers=_all_headers(headers, body_type),
                content=body,
                secrets=(*_secrets(headers, form), *secrets),
                is_repeatable=is_repeatable,
            )
        return repeat(lambda: self._try(request, budget), budget, max_tries)

    def wait(self, seconds: float) -> bool:
        """Wait so long if that ends before the deadline; return False at once if it would not."""
        return self._deadline.wait(seconds)

    def _try(self, request: _Request, budget: Budget) -> Answer:
        """Send the request once; raise RequestError unless it has a usable status."""
        seconds = budget.remaining_seconds()
        if seconds <= 0:
            message = f"no time is left to ask {request.source}"
            raise RequestError(message)
        started_at = time.monotonic()
        outcome = self._outcome_within(request, min(seconds, self._try_seconds))
        status = outcome.status if outcome.status is not None else "no answer"
        milliseconds = round((time.monotonic() - started_at) * 1000)
        place = (request.host, request.path)
        log.debug("%s %s%s: %s, %d ms", request.method, *place, status, milliseconds)
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
        exchange = _Exchange(request, seconds, self._silence_seconds)
        threading.Thread(target=self._exchange, args=(exchange,), daemon=True).start()
        outcome: Answer | ServiceError | None = None
        while (left_seconds := exchange.ends_at - time.monotonic()) > 0:
            try:
                outcome = exchange.outcomes.get(timeout=min(left_seconds, _CANCEL_CHECK_SECONDS))
                break
            except queue.Empty:
                # What opens a session is waited for even then: its answer says what to close.
                if request.is_repeatable and self._deadline.has_passed():
                    break
        if outcome is None:
            is_one_try = seconds == self._try_seconds
            limit = (
                f"within {_seconds_text(seconds)}" if is_one_try else "in the time that was left"
            )
            outcome = RequestError(
                f"no answer from {request.source} {limit}",
                may_have_acted=exchange.was_sent and not request.is_repeatable,
                is_worth_repeating=request.is_repeatable and is_one_try,
            )
        if isinstance(outcome, ServiceError):
            outcome.partial_body = bytes(exchange.received)
        return outcome

    def _exchange(self, exchange: _Exchange) -> None:
        """Make the exchange and put its answer or failure into `outcomes`."""
        request, outcomes = exchange.request, exchange.outcomes
        try:
            with _as_service_errors(request, exchange.timeout_seconds):
                outcomes.put(self._send(exchange))
        except ServiceError as error:
            outcomes.put(error)
        finally:
            # Read only if nothing came before it, so that no end of this thread leaves one waiting.
            message = f"the request to {request.source} ended without an answer"
            outcomes.put(RequestError(message, may_have_acted=not request.is_repeatable))

    def _send(self, exchange: _Exchange) -> Answer:
        """Send the request and read the whole answer, without following it anywhere."""
        request = exchange.request

        def refuse_late_sending(event: str, _details: object) -> None:
            # Soon nobody waits any more, and a session would open that nobody knows of.
            if not event.endswith("send_request_headers.started"):
                return
            exchange.was_sent = time.monotonic() < exchange.send_by
            if not exchange.was_sent:
                message = f"no time is left to ask {request.source}"
                raise RequestError(message)

        client = self._opened_client()
        try:
            with client.stream(
                request.method,
                request.url,
                headers=request.headers,
                content=request.content,
                timeout=exchange.timeout_seconds,
                follow_redirects=False,
                extensions={"trace": refuse_late_sending},
            ) as response:
                return Answer(
                    status=response.status_code,
                    source=request.source,
                    headers=dict(response.headers),
                    body=_read_body(response, exchange),
                    sent_secrets=request.secrets,
                )
        except httpx.InvalidURL as error:
            # The request's own was checked, but httpx also reads those that it does not follow.
            message = redirect_text(request.source, UNREADABLE_ADDRESS)
            may_have_acted = not request.is_repeatable
            raise RequestError(message, may_have_acted=may_have_acted) from error

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
        return "application/json", strict_json.dumps(json)
    if form is not None:
        return "application/x-www-form-urlencoded", urlencode(form).encode()
    return None, None


def _secrets(headers: Mapping[str, str], form: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return every value that proves who we are, without the scheme before it."""
    values = [value.removeprefix("Bearer ").removeprefix("Basic ") for value in headers.values()]
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
        "Accept-Encoding": "identity",
        **({"Content-Type": body_type} if body_type else {}),
        **headers,
    }


def _read_body(response: httpx.Response, exchange: _Exchange) -> bytes:
    """Return the whole body; raise RequestError if it is too large or comes too slowly."""
    request = exchange.request
    body = exchange.received if response.is_success else bytearray()
    may_have_acted = not request.is_repeatable
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        # A few bytes could unpack to more than there is memory, in one piece.
        message = f"the answer of {request.source} is compressed, although we take none such"
        raise RequestError(message, may_have_acted=may_have_acted)
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > BODY_LIMIT_BYTES:
            message = f"the answer of {request.source} is larger than 1 MiB"
            raise RequestError(message, may_have_acted=may_have_acted)
        if time.monotonic() >= exchange.ends_at:
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
