# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to vendors' services within a deadline.

What a request means, and how it is authorised, is the clients' business; when it is made again is
decided in `retry`, and a `Transport` carries it.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress

import orjson

from spank_qrmi import __version__
from spank_qrmi.clients.answer import Answer
from spank_qrmi.clients.base import LATE_ANSWER_SECONDS
from spank_qrmi.clients.connections import Connections
from spank_qrmi.clients.retry import MOST_TRIES, Budget, RequestError, repeat, status_failure
from spank_qrmi.clients.transport import (
    AnswerTimeoutError,
    BrokenConnectionError,
    ConnectError,
    ConnectTimeoutError,
    Limits,
    NotSentError,
    ProxyError,
    Request,
    Response,
    SettingsError,
    Transport,
    UntrustedError,
)
from spank_qrmi.clients.url import Url
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ServiceError
from spank_qrmi.light.percent import quoted_pairs
from spank_qrmi.light.queues import Empty, SimpleQueue

log = logging.getLogger(__name__)

OPERATION_TIMEOUT_SECONDS = 30.0
"""Longest silence of a service within one try: connecting, sending, or between two pieces read.
A client that limits its tries has that limit for it."""

BODY_LIMIT_BYTES = 1024 * 1024

USER_AGENT = f"spank-qrmi/{__version__}"

_CANCEL_CHECK_SECONDS = 0.1


class _Exchange:
    """One try of a request, as far as it has come; all times are of the monotonic clock.

    `was_sent` says that the service may have seen some of it, `received` is what there is of the
    body of a successful answer.
    """

    def __init__(self, request: Request, seconds: float, silence_seconds: float) -> None:
        late_seconds = 0.0 if request.is_repeatable else LATE_ANSWER_SECONDS
        self.request = request
        self.send_by = time.monotonic() + seconds
        self.ends_at = self.send_by + late_seconds
        self.limits = Limits(min(silence_seconds, seconds + late_seconds), self.ends_at)
        self.outcomes: SimpleQueue[Answer | ServiceError] = SimpleQueue()
        self.was_sent = False
        self.received = bytearray()


class HttpClient:
    """Makes all requests of one piece of work; may be used from several threads at once.

    No call returns later than the deadline, but for LATE_ANSWER_SECONDS; none takes longer than
    `request_seconds`, its retries included, and no try longer than `try_seconds`. Proxies and
    certificates come from the process environment (http_proxy, https_proxy, all_proxy, no_proxy,
    SSL_CERT_FILE, SSL_CERT_DIR), unless `open_with` names others.
    """

    def __init__(
        self,
        deadline: Deadline,
        *,
        request_seconds: float = math.inf,
        try_seconds: float | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._deadline = deadline
        self._request_seconds = request_seconds
        self._try_seconds = math.inf if try_seconds is None else try_seconds
        self._silence_seconds = OPERATION_TIMEOUT_SECONDS if try_seconds is None else try_seconds
        self._transport = transport
        self._transport_lock = threading.Lock()

    def __enter__(self) -> "HttpClient":
        return self

    def __exit__(self, *_: object) -> None:
        with self._transport_lock:
            if self._transport is not None:
                self._transport.close()

    def within(self, deadline: Deadline) -> "HttpClient":
        """Return the same open client, its connections included, for work with this deadline."""
        other = HttpClient(deadline)
        vars(other).update({**vars(self), "_deadline": deadline})
        return other

    def open_with(self, environment: Mapping[str, str], *, is_tls_needed: bool = True) -> None:
        """Take proxies and certificates from these variables where they differ from the process's.

        Called before the first request. Certificates are read now, or if `is_tls_needed` is false
        by the first request that needs them. Raises ServiceError if the variables cannot be used.
        """
        try:
            connections = Connections({**os.environ, **environment})
            if is_tls_needed:
                connections.trust()
        except SettingsError as error:
            message = f"cannot prepare requests: {error}"
            raise ServiceError(message) from error
        with self._transport_lock:
            if self._transport is None:
                self._transport = connections

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
        body_type, body = _encoded(json, form)
        request = Request(
            method,
            _checked_url(url, query),
            _all_headers(headers, body_type),
            body,
            (*_secrets(headers, form), *secrets),
            is_repeatable=is_repeatable,
        )
        return repeat(lambda: self._try(request, budget), budget, max_tries)

    def wait(self, seconds: float) -> bool:
        """Wait so long if that ends before the deadline; return False at once if it would not."""
        return self._deadline.wait(seconds)

    def _try(self, request: Request, budget: Budget) -> Answer:
        """Send the request once; raise RequestError unless it has a usable status."""
        seconds = budget.remaining_seconds()
        if seconds <= 0:
            message = f"no time is left to ask {request.source}"
            raise RequestError(message)
        started_at = time.monotonic()
        outcome = self._outcome_within(request, min(seconds, self._try_seconds))
        status = outcome.status if outcome.status is not None else "no answer"
        milliseconds = round((time.monotonic() - started_at) * 1000)
        place = (request.url.authority, request.path)
        log.debug("%s %s%s: %s, %d ms", request.method, *place, status, milliseconds)
        if isinstance(outcome, ServiceError):
            raise outcome
        failure = status_failure(outcome, is_repeatable=request.is_repeatable)
        if failure is not None:
            raise failure
        return outcome

    def _outcome_within(self, request: Request, seconds: float) -> Answer | ServiceError:
        """Return what became of one exchange, or that nothing did within `seconds`.

        A name server that does not answer, or headers that come byte by byte, cannot be timed out
        from inside, so the exchange has a thread of its own that may be left behind.
        """
        exchange = _Exchange(request, seconds, self._silence_seconds)
        try:
            threading.Thread(target=self._exchange, args=(exchange,), daemon=True).start()
        except RuntimeError:
            message = f"{request.source} was not asked: no more threads can be started"
            return RequestError(message, is_worth_repeating=True)
        outcome: Answer | ServiceError | None = None
        while (left_seconds := exchange.ends_at - time.monotonic()) > 0:
            try:
                outcome = exchange.outcomes.get(timeout=min(left_seconds, _CANCEL_CHECK_SECONDS))
                break
            except Empty:
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
            with _as_service_errors(exchange):
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

        def refuse_late_sending() -> None:
            # Soon nobody waits any more, and a session would open that nobody knows of.
            exchange.was_sent = time.monotonic() < exchange.send_by
            if not exchange.was_sent:
                message = f"no time is left to ask {request.source}"
                raise RequestError(message)

        transport = self._opened_transport()
        with closing(transport.send(request, exchange.limits, refuse_late_sending)) as response:
            return Answer(
                status=response.status,
                source=request.source,
                headers=response.headers,
                body=_read_body(response, exchange),
                sent_secrets=request.secrets,
            )

    def _opened_transport(self) -> Transport:
        """Return the transport; unless it was given or opened, by the process's variables."""
        with self._transport_lock:
            if self._transport is None:
                self._transport = Connections(os.environ)
            return self._transport


def _checked_url(url: str, query: Mapping[str, str] | None) -> Url:
    """Return the URL; raise RequestError if nothing can be sent there."""
    # What these say themselves may hold the query.
    with suppress(ValueError):
        return Url(url, query)
    message = "an endpoint's URL cannot be used: correct the resource's endpoints"
    raise RequestError(message)


def _encoded(
    json: Mapping[str, object] | None, form: Mapping[str, str] | None
) -> tuple[str | None, bytes | None]:
    """Return the content type and the bytes of the body; raise RequestError if there are none."""
    # What these say themselves may hold a credential.
    with suppress(TypeError, ValueError):
        if json is not None:
            return "application/json", orjson.dumps(json)
        if form is not None:
            return "application/x-www-form-urlencoded", quoted_pairs(form).encode()
        return None, None
    message = "a setting of the resource has characters that cannot be sent"
    raise RequestError(message)


def _secrets(headers: Mapping[str, str], form: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return every value that proves who we are, without the scheme before it."""
    values = [value.removeprefix("Bearer ").removeprefix("Basic ") for value in headers.values()]
    return (*values, *(form or {}).values())


def _all_headers(headers: Mapping[str, str], body_type: str | None) -> dict[str, str]:
    """Return `headers` with our own; raise RequestError if one holds what cannot be sent."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()) or value != value.strip():
            message = f"the value of the header {name} has characters that cannot be sent"
            raise RequestError(message)
    return {
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        **({"Content-Type": body_type} if body_type else {}),
        **headers,
    }


def _read_body(response: Response, exchange: _Exchange) -> bytes:
    """Return the whole body; raise RequestError if it is too large or compressed."""
    request = exchange.request
    body = exchange.received if response.is_success else bytearray()
    may_have_acted = not request.is_repeatable
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        # A few bytes could unpack to more than there is memory, in one piece.
        message = f"the answer of {request.source} is compressed, although we take none such"
        raise RequestError(message, may_have_acted=may_have_acted)
    for piece in response.pieces:
        body += piece
        if len(body) > BODY_LIMIT_BYTES:
            message = f"the answer of {request.source} is larger than 1 MiB"
            raise RequestError(message, may_have_acted=may_have_acted)
    return bytes(body)


@contextmanager
def _as_service_errors(exchange: _Exchange) -> Iterator[None]:
    """Turn every exception of an exchange into RequestError.

    No text but that of SettingsError and ConnectError is used: others may hold headers.
    """
    request = exchange.request
    try:
        yield
    except ServiceError:
        raise
    except Exception as error:
        was_sent = exchange.was_sent and not isinstance(error, NotSentError)
        raise RequestError(
            _failure_text(error, request, _seconds_text(exchange.limits.silence_seconds)),
            may_have_acted=was_sent and not request.is_repeatable,
            is_worth_repeating=_is_worth_repeating(error, is_repeatable=request.is_repeatable),
        ) from error


def _is_worth_repeating(error: Exception, *, is_repeatable: bool) -> bool:
    """Return whether the same request is safe to make again and may then succeed."""
    match error:
        case UntrustedError():
            return False
        case ConnectError() | ConnectTimeoutError() | ProxyError():
            return True
        case AnswerTimeoutError() | BrokenConnectionError():
            return is_repeatable
    return False


def _failure_text(error: Exception, request: Request, seconds: str) -> str:
    """Return what went wrong in one line."""
    match error:
        case SettingsError():
            text = f"cannot prepare the request to {request.origin}: {error}"
        case ConnectTimeoutError():
            text = f"cannot connect to {request.origin} within {seconds}"
        case ConnectError(reason=reason):
            text = f"cannot connect to {request.origin}" + (f": {reason}" if reason else "")
        case ProxyError(status=status):
            answered = f" (it answered {status})" if status else ""
            text = (
                f"the proxy does not connect us to {request.origin}{answered}: "
                "check the proxy settings"
            )
        case AnswerTimeoutError():
            text = f"no answer from {request.source} within {seconds}"
        case BrokenConnectionError():
            text = f"the connection broke before the answer of {request.source} was complete"
        case _:
            text = f"the request to {request.source} failed ({type(error).__name__})"
    return text


def _seconds_text(seconds: float) -> str:
    """Return whole seconds with their unit, at least 1."""
    return f"{max(1, round(seconds))} s"
