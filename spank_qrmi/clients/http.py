# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to vendors' services within a deadline.

The only module that knows httpx. What a request means, and how it is authorised, is the clients'
business; when it is made again is decided in `retry`.
"""

import copy
import logging
import math
import os
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypedDict

import httpx

from spank_qrmi.clients.certificates import connection_reason, is_final, trust_of
from spank_qrmi.clients.request import (
    HttpRequest,
    all_headers,
    encode_body,
    split_checked_url,
    split_url,
)
from spank_qrmi.clients.response import Response
from spank_qrmi.clients.retry import MOST_TRIES, RequestError, repeat, status_failure
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ServiceError, SettingsError
from spank_qrmi.redaction import error_place, printable

log = logging.getLogger(__name__)

OPERATION_TIMEOUT_SECONDS = 30.0
"""Longest silence of a service within one try: sending, or between two pieces read. A client that
limits its tries has that limit for it. An address that does not answer is waited for half as long:
a name may have another."""

LATE_RESPONSE_SECONDS = 0.8
"""How long the response to what cannot be repeated is still waited for: it says what to release."""

BODY_LIMIT_BYTES = 1024 * 1024

_CANCEL_CHECK_SECONDS = 0.1
_AUTHORITY = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:)?//([^/?#]*)")
_HOST = re.compile(r"(?:.*@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?")
_SHOWN_HOST_LIMIT = 100
_PROXY_NAMES = ("http_proxy", "https_proxy", "all_proxy")
PROXY_VARIABLES = tuple(
    spelling for name in (*_PROXY_NAMES, "no_proxy") for spelling in (name, name.upper())
)
"""What says which proxy is asked."""

_setting_variables = threading.Lock()


class _Attempt:
    """One try of a request, as far as it has come; all times are of the monotonic clock.

    `proxy` is the one that is being connected to, and `is_at_proxy` says that it was asked for a
    tunnel; `was_sent`, that the service may have seen some of the request. `received` is what there
    is of the body of a successful response.
    """

    def __init__(self, request: HttpRequest, seconds: float, silence_seconds: float) -> None:
        late_seconds = 0.0 if request.is_repeatable else LATE_RESPONSE_SECONDS
        self.request = request
        self.send_by = time.monotonic() + seconds
        self.ends_at = self.send_by + late_seconds
        self.silence_seconds = min(silence_seconds, seconds + late_seconds)
        self.connect_seconds = self.silence_seconds / 2
        self.outcomes: queue.SimpleQueue[Response | ServiceError] = queue.SimpleQueue()
        self.proxy = ""
        self.is_at_proxy = False
        self.was_sent = False
        self.received = bytearray()
        self._stream: Any = None

    def follow(self, event: str, details: Mapping[str, Any]) -> None:
        """Note what httpcore does; raise RequestError where it would begin to send too late."""
        if event == "connection.connect_tcp.started":
            host, port = details["host"], details["port"]
            place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self.proxy = "" if place == self.request.authority else place
        elif event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._stream = details["return_value"]
        elif event == "http11.send_request_headers.started":
            self.proxy = ""
            self.is_at_proxy = details["request"].method == b"CONNECT"
            if not self.is_at_proxy:
                # Soon nobody waits any more, and a session would open that nobody knows of.
                self.was_sent = time.monotonic() < self.send_by
                if not self.was_sent:
                    raise RequestError(f"no time is left to ask {self.request.source}")

    def give_up(self) -> None:
        """Send nothing from now on, and hang up: a response may have no end."""
        self.send_by = -math.inf
        if self._stream is not None:
            with suppress(OSError):
                # Not what TLS makes of it: that would let the rest pass in clear text.
                socket.socket.shutdown(self._stream.get_extra_info("socket"), socket.SHUT_RDWR)


class RequestOptions(TypedDict, total=False):
    """What a request may have besides, see `HttpClient.request`."""

    query: Mapping[str, str] | None
    json: Mapping[str, object] | None
    secrets: tuple[str, ...]
    share: float
    max_tries: int
    judged: Container[int]


class HttpClient:
    """Makes all requests of one piece of work; may be used from several threads at once.

    No call returns later than the deadline, but for LATE_RESPONSE_SECONDS; none takes longer than
    `request_seconds`, its retries included, and no try longer than `try_seconds`. Proxies and
    certificates come from the process environment (http_proxy, https_proxy, all_proxy, no_proxy,
    SSL_CERT_FILE, SSL_CERT_DIR), unless `open_with` names others. `clock_offsets` are the seconds
    by which this node's clock was ahead of each service's, by its host and port: what the header
    Date of its last response tells (RFC 9110, 6.6.1).
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
        self._client = None if transport is None else _new_client(transport=transport)
        self._advice = ""
        self._opening = threading.Lock()
        self.clock_offsets: dict[str, float] = {}

    def __enter__(self) -> "HttpClient":
        return self

    def __exit__(self, *_: object) -> None:
        with self._opening:
            if self._client is not None:
                self._client.close()

    def within(self, deadline: Deadline) -> "HttpClient":
        """Return the same open client for work with this deadline."""
        other = copy.copy(self)
        other._deadline = deadline
        return other

    def open_with(self, environment: Mapping[str, str]) -> None:
        """Take proxies and certificates from these variables where they differ from the process's.

        Called before the first request, and before other threads may read the process's variables.
        Raises ServiceError if the variables cannot be used.
        """
        try:
            self._open(environment)
        except SettingsError as error:
            raise ServiceError(f"cannot prepare requests: {error}") from error

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
        headers_of_try: Callable[[], Mapping[str, str]] = dict,
        judged: Container[int] = (),
    ) -> Response:
        """Make a request and return the response, whose status is below 300 or an ordinary 4xx.

        `share` (0 to 1) is the part of the remaining time that it may use, its retries included,
        of which there are at most `max_tries` - 1; `headers_of_try` gives what each has anew.
        `is_repeatable` says that asking twice does no harm. The values of `headers` and `form`, and
        `secrets` of the URL, are masked in every text made from request and response. Raises
        ServiceError for everything else: no connection, no or too long a response, a redirect, and
        408, 423, 429 and 5xx that last, but for those statuses in `judged`.
        """
        seconds = min(self._deadline.remaining_seconds() * share, self._request_seconds)
        deadline = self._deadline.within(seconds)
        body_type, body = encode_body(json, form)
        place = split_checked_url(url, query)

        def attempt() -> Response:
            own_headers = {**headers, **headers_of_try()}
            # A service may repeat a credential without the scheme before it.
            proofs = [
                value.removeprefix("Bearer ").removeprefix("Basic ")
                for value in own_headers.values()
            ]
            request = HttpRequest(
                method,
                *place,
                all_headers(own_headers, body_type),
                body,
                (*proofs, *(form or {}).values(), *secrets),
                is_repeatable,
            )
            return self._try(request, deadline, judged)

        return repeat(attempt, deadline, max_tries)

    def wait(self, seconds: float) -> bool:
        """Wait so long if that ends before the deadline; return False at once if it would not."""
        return self._deadline.wait(seconds)

    def _try(self, request: HttpRequest, deadline: Deadline, judged: Container[int]) -> Response:
        """Send the request once; raise RequestError unless it has a usable status."""
        seconds = deadline.remaining_seconds()
        if seconds <= 0:
            raise RequestError(f"no time is left to ask {request.source}")
        started_at = time.monotonic()
        outcome = self._outcome_within(request, min(seconds, self._try_seconds))
        status = outcome.status if outcome.status is not None else "no answer"
        milliseconds = round((time.monotonic() - started_at) * 1000)
        place = f"{request.authority}{request.path}"
        log.debug("%s %s: %s, %d ms", request.method, place, status, milliseconds)
        if isinstance(outcome, ServiceError):
            raise outcome
        self._note_clock(request.authority, outcome)
        failure = status_failure(outcome, is_repeatable=request.is_repeatable)
        if failure is not None and outcome.status not in judged:
            raise failure
        return outcome

    def _note_clock(self, authority: str, response: Response) -> None:
        # A date may be missing, or be any text.
        with suppress(LookupError, TypeError, ValueError, OverflowError):
            told = parsedate_to_datetime(response.headers["date"])
            if told.tzinfo is None:
                told = told.replace(tzinfo=timezone.utc)
            self.clock_offsets[authority] = time.time() - told.timestamp()

    def _outcome_within(self, request: HttpRequest, seconds: float) -> Response | ServiceError:
        """Return what became of one attempt, or that nothing did within `seconds`.

        A name server that does not answer, or headers that come byte by byte, cannot be timed out
        from inside, so the attempt has a thread of its own that may be left behind.
        """
        attempt = _Attempt(request, seconds, self._silence_seconds)
        try:
            threading.Thread(target=self._carry_out, args=(attempt,), daemon=True).start()
        except RuntimeError:
            message = f"{request.source} was not asked: no more threads can be started"
            return RequestError(message, is_worth_repeating=True)
        outcome: Response | ServiceError | None = None
        while (left_seconds := attempt.ends_at - time.monotonic()) > 0:
            try:
                outcome = attempt.outcomes.get(timeout=min(left_seconds, _CANCEL_CHECK_SECONDS))
                break
            except queue.Empty:
                # What opens a session is waited for even then: its response says what to close.
                if request.is_repeatable and self._deadline.has_passed():
                    break
        if outcome is None:
            attempt.give_up()
            is_one_try = seconds == self._try_seconds
            limit = (
                f"within {_seconds_text(seconds)}" if is_one_try else "in the time that was left"
            )
            outcome = RequestError(
                f"no answer from {request.source} {limit}",
                may_have_acted=attempt.was_sent and not request.is_repeatable,
                is_worth_repeating=request.is_repeatable and is_one_try,
            )
        if isinstance(outcome, ServiceError):
            outcome.partial_body = bytes(attempt.received)
        return outcome

    def _carry_out(self, attempt: _Attempt) -> None:
        """Make the attempt and put its response or failure into `outcomes`."""
        request, outcomes = attempt.request, attempt.outcomes
        try:
            outcomes.put(self._send(attempt))
        except ServiceError as error:
            outcomes.put(error)
        except Exception as error:  # noqa: BLE001 (whatever it is, somebody waits for it)
            outcomes.put(_failure(error, attempt, self._advice))
        finally:
            # Read only if nothing came before it, so that no end of this thread leaves one waiting.
            message = f"the request to {request.source} ended without an answer"
            outcomes.put(RequestError(message, may_have_acted=not request.is_repeatable))

    def _send(self, attempt: _Attempt) -> Response:
        """Send the request and read the whole response, without following it anywhere."""
        request = attempt.request
        with self._open({}).stream(
            request.method,
            f"{request.origin}{request.target}",
            headers=request.headers,
            content=request.content,
            timeout=httpx.Timeout(attempt.silence_seconds, connect=attempt.connect_seconds),
            extensions={"trace": attempt.follow, "request": request},
        ) as raw:
            body, headers = _read_body(raw, attempt), dict(raw.headers)
            return Response(raw.status_code, request.source, headers, body, request.secrets)

    def _open(self, environment: Mapping[str, str]) -> httpx.Client:
        """Return the open client, made with these variables if need be; raise SettingsError."""
        with self._opening:
            if self._client is None:
                variables = {**os.environ, **environment}
                check_proxies(variables)
                context, self._advice = trust_of(variables)
                with _proxies_of(environment):
                    self._client = _new_client(verify=context)
            return self._client


def open_client(environment: Mapping[str, str]) -> HttpClient | ServiceError:
    """Return an open client for a set of variables, or why there is none."""
    client = HttpClient(Deadline(0))
    try:
        client.open_with(environment)
    except ServiceError as error:
        return error
    except Exception as error:  # noqa: BLE001 (one set's fault must not take the others down)
        return ServiceError(f"requests cannot be made: {error_place(error)}")
    return client


def check_proxies(variables: Mapping[str, str]) -> None:
    """Raise SettingsError for a proxy that cannot be used; no text shows its value, a secret."""
    for name in _PROXY_NAMES:
        value = variables.get(name, variables.get(name.upper(), ""))
        if value and not _is_usable_proxy(value):
            raise SettingsError(
                f"{name}: write the proxy as http://host:port; https:// and socks:// are not "
                "supported"
            )


def _is_usable_proxy(value: str) -> bool:
    scheme, separator, rest = value.partition("://")
    login, _, place = (rest if separator else value).rpartition("@")
    try:
        origin, path = split_url(f"{scheme if separator else 'http'}://{place}")
    except ValueError:
        return False
    is_address = origin.startswith("http://") and path == "/"
    return is_address and login.isprintable() and not re.search("[/?#]", login)


@contextmanager
def _proxies_of(environment: Mapping[str, str]) -> Iterator[None]:
    """Set the process's variables of proxies while httpx makes a client, which reads them."""
    changes = {name: environment[name] for name in PROXY_VARIABLES if name in environment}
    with _setting_variables:
        before = {name: os.environ[name] for name in changes if name in os.environ}
        try:
            os.environ.update(changes)
            yield
        except (httpx.InvalidURL, ValueError):
            # What these say themselves may hold a proxy's login.
            raise SettingsError(
                "no_proxy: write names, .suffixes and addresses, without brackets, with commas "
                "between them"
            ) from None
        finally:
            for name in changes:
                os.environ.pop(name, None)
            os.environ.update(before)


def _new_client(**options: Any) -> httpx.Client:
    # The codecs of names of hosts are read when they are first used: root may be given up then.
    "\u00e4".encode("idna")
    for name in ("httpx", "httpcore"):
        # Their records hold URLs with queries, and headers.
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return httpx.Client(
        # What one resource's service stores must not ride on a request for another.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        # What a service says unasked would answer the next request on a connection.
        limits=httpx.Limits(max_keepalive_connections=0),
        event_hooks={"response": [_refuse_head]},
        **options,
    )


def _refuse_head(raw: httpx.Response) -> None:
    """Raise RequestError for a response of which no more is read.

    Called before httpx acts on it: that reads where a redirect leads even if it does not follow.
    """
    request: HttpRequest = raw.request.extensions["request"]
    status = raw.status_code
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        # Following would carry credentials to a host that nobody configured. The rest of its URL
        # may hold credentials too.
        host = printable(_redirect_host(raw.headers.get("location", ""))[:_SHOWN_HOST_LIMIT])
        raise RequestError(
            f"{request.source} answered {status} and wants to send us to {host}: redirects are not "
            "followed, correct the endpoint's URL",
            status=status,
            may_have_acted=status == HTTPStatus.SEE_OTHER and not request.is_repeatable,
        )
    if raw.headers.get("content-encoding", "identity").strip().lower() != "identity":
        # A few bytes could unpack to more than there is memory, in one piece.
        raise RequestError(
            f"the answer of {request.source} is compressed, although we take none such",
            may_have_acted=not request.is_repeatable,
        )


def _redirect_host(location: str) -> str:
    found = _AUTHORITY.match(location)
    if found is None:
        return "the same host"
    host = _HOST.fullmatch(found[1])
    return "an unreadable address" if host is None else host[1].lower()


def _read_body(raw: httpx.Response, attempt: _Attempt) -> bytes:
    """Return the whole body; raise RequestError if it is too large."""
    request = attempt.request
    body = attempt.received if raw.is_success else bytearray()
    for piece in raw.iter_raw():
        body += piece
        if len(body) > BODY_LIMIT_BYTES:
            raise RequestError(
                f"the answer of {request.source} is larger than 1 MiB",
                may_have_acted=not request.is_repeatable,
            )
    return bytes(body)


def _failure(error: Exception, attempt: _Attempt, advice: str) -> RequestError:
    """Return what went wrong; no text of an exception is used, it may hold headers."""
    request, system_error = attempt.request, _system_error(error)
    is_worth_repeating = True
    match error:
        case SettingsError():
            is_worth_repeating = False
            text = f"cannot prepare the request to {request.origin}: {error}"
        case httpx.ConnectTimeout() if not attempt.proxy:
            seconds = _seconds_text(attempt.connect_seconds)
            text = f"cannot connect to {request.origin} within {seconds}"
        case httpx.ConnectTimeout() | httpx.ConnectError():
            is_worth_repeating = not is_final(system_error)
            proxy = attempt.proxy and f"proxy {attempt.proxy}"
            reason = "timed out" if isinstance(error, httpx.ConnectTimeout) else ""
            reason = reason or (connection_reason(system_error, advice) if system_error else "")
            parts = (f"cannot connect to {request.origin}", proxy, reason)
            text = ": ".join(filter(None, parts))
        case httpx.TransportError() if attempt.is_at_proxy:
            status = str(error)[:3] if isinstance(error, httpx.ProxyError) else ""
            answered = f" (it answered {status})" if status.isdecimal() else ""
            text = (
                f"the proxy does not connect us to {request.origin}{answered}: "
                "check the proxy settings"
            )
        case httpx.TimeoutException():
            is_worth_repeating = request.is_repeatable
            seconds = _seconds_text(attempt.silence_seconds)
            text = f"no answer from {request.source} within {seconds}"
        case httpx.NetworkError() | httpx.RemoteProtocolError():
            is_worth_repeating = request.is_repeatable
            text = f"the connection broke before the answer of {request.source} was complete"
        case _:
            is_worth_repeating = False
            text = f"the request to {request.source} failed ({type(error).__name__})"
    may_have_acted = attempt.was_sent and not request.is_repeatable
    failure = RequestError(
        text, may_have_acted=may_have_acted, is_worth_repeating=is_worth_repeating
    )
    failure.__cause__ = error
    return failure


def _system_error(error: BaseException | None) -> OSError | None:
    """Return the error of the operating system, or of TLS, behind one of httpx."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _seconds_text(seconds: float) -> str:
    """Return whole seconds with their unit, at least 1."""
    return f"{max(1, round(seconds))} s"
