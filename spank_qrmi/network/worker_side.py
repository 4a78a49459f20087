# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's end of its network process: vendors are asked there, and believed nothing.

Whatever becomes of that process is one error with a reason for each call; one that was to open a
session counts as having opened it.
"""

import contextlib
import logging
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue

from spank_qrmi.clients.base import Settings
from spank_qrmi.clients.http import LATE_RESPONSE_SECONDS
from spank_qrmi.clients.tokens import Login
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import CredentialError, ProtocolError, QrmiError, ServiceError
from spank_qrmi.network import process
from spank_qrmi.network.calls import Ask, Call, Services, Subject
from spank_qrmi.network.messages import (
    MAX_REPORT_BYTES,
    MAX_TEXT_LENGTH,
    NONSENSE,
    WHO,
    Order,
    Report,
    encode_frame,
    error_from_fields,
    pairs_to_fields,
    read_frame,
    require_number,
)
from spank_qrmi.network.tokens import NodeTokens
from spank_qrmi.redaction import printable
from spank_qrmi.state.token_cache import TokenCache
from spank_qrmi.trust.munge import Munge

log = logging.getLogger(__name__)

_LEVELS = frozenset({logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR})

_ENDED = f"{WHO} ended before it had answered"
_SILENT = f"{WHO} did not answer in time"
_NO_THREAD = "the worker may start no more threads: raise the node's limits of processes or memory"
_UNKNOWN_VARIABLES = f"{WHO} does not know the variables that requests are to be made with"

# It keeps deadlines itself: this is for one that does not. Less than `at_once` waits for threads.
_MARGIN_SECONDS = LATE_RESPONSE_SECONDS + 0.1
_SEND_SECONDS = 5
_CHECK_SECONDS = 0.2
_MOST_LOG_RECORDS = 2000


def start_network_process() -> "Network":
    """Fork the process. Called before secrets are read, files opened and threads started."""
    ours, theirs = socket.socketpair()
    parent_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            process.main(theirs, parent_pid)
        finally:
            # Nothing of what the worker does next may be done twice.
            os._exit(1)
    theirs.close()
    return Network(ours, pid)


class Network:
    """The way to the services: the process `pid` at the other end of the channel."""

    tokens: NodeTokens
    munge: Munge

    def __init__(self, channel: socket.socket, pid: int) -> None:
        # A process that takes no more orders must not block the worker.
        timeout = struct.pack("ll", _SEND_SECONDS, 0)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        self._channel = channel
        self._pid = pid
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._numbers = count(1)
        self._waiting: dict[int, SimpleQueue[list[str] | QrmiError]] = {}
        self._node_variables: list[dict[str, str]] = []
        self._log_records_left = _MOST_LOG_RECORDS
        self._is_open = threading.Event()
        self._failure = ""
        self._listener: threading.Thread | None = None

    def open(
        self,
        node_variables: Sequence[Mapping[str, str]],
        user: str,
        seconds: float,
        token_cache: TokenCache,
        munge_socket: str | None = None,
    ) -> None:
        """Get ready for requests with each of these sets of variables; called once, first.

        `user` is who makes them, `seconds` how long they may take altogether. `token_cache` has
        access tokens for them and takes new ones; at `munge_socket`, or the usual one if that is
        None, munged makes the credentials. Returns at once; raises QrmiError if it cannot begin.
        """
        self.tokens = NodeTokens(token_cache)
        self.munge = Munge(munge_socket)
        fields = []
        for each in node_variables:
            if each not in self._node_variables:
                self._node_variables.append(dict(each))
                fields += [str(len(each)), *pairs_to_fields(each)]
        listener = threading.Thread(target=self._listen, daemon=True)
        try:
            listener.start()
        except RuntimeError as error:
            raise QrmiError(_NO_THREAD) from error
        self._listener = listener
        self.order(Order.OPEN, user, str(seconds), *fields)

    def wait_until_open(self, deadline: Deadline) -> None:
        """Return once requests can be made; raise QrmiError that says why they cannot."""
        while not self._is_open.wait(_CHECK_SECONDS):
            if deadline.has_passed():
                raise QrmiError(_SILENT)
        if self._failure:
            raise QrmiError(self._failure)

    def lives_until_readable(self, orders: socket.socket) -> bool:
        """Wait for something to read there; return False if the process ends before.

        For one that is not open yet: it tells nothing.
        """
        return self._channel not in select.select([orders, self._channel], [], [])[0]

    def has_variables(self, node_variables: Mapping[str, str]) -> bool:
        """Return whether it was opened with such a set of variables."""
        return node_variables in self._node_variables

    def services(self, deadline: Deadline, node_variables: Mapping[str, str]) -> Services:
        """Return the services for one piece of work with one of the sets of variables.

        Raises QrmiError if it was opened with others.
        """
        if not self.has_variables(node_variables):
            raise QrmiError(_UNKNOWN_VARIABLES)
        work = str(next(self._numbers))
        index = self._node_variables.index(dict(node_variables))
        self.order(Order.WORK, work, str(index), str(deadline.remaining_seconds()))
        deadline.when_cancelled(lambda: self.order(Order.CANCEL, work))
        return _RemoteServices(self, work, deadline)

    def end(self) -> None:
        """End the process without waiting for its end."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        # Without the right to end it, it ends by itself: its worker listens no more.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process and wait for its end."""
        self.end()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        if self._listener is not None:
            self._listener.join()
        self._channel.close()

    def call(
        self, work: str, deadline: Deadline, call: Call, subject_number: str, *fields: str
    ) -> list[str]:
        """Have something asked and return the result's fields.

        Raises the service's error, and ServiceError if there is no result; that the service may
        have acted then says only that the call was sent.
        """
        ends_at = time.monotonic() + deadline.remaining_seconds() + _MARGIN_SECONDS
        results: SimpleQueue[list[str] | QrmiError] = SimpleQueue()
        with self._lock:
            call_number = next(self._numbers)
            self._waiting[call_number] = results
            failure = self._failure
        if failure:
            raise ServiceError(failure)
        self.order(Order.CALL, str(call_number), work, call.value, subject_number, *fields)
        try:
            result = results.get(timeout=max(0.0, ends_at - time.monotonic()))
        except Empty:
            raise ServiceError(_SILENT, may_have_acted=True) from None
        finally:
            with self._lock:
                self._waiting.pop(call_number, None)
        if isinstance(result, QrmiError):
            raise result
        return result

    def order(self, order: Order, *fields: str) -> None:
        """Send an order; if the process takes none, all that waits fails."""
        frame = encode_frame(order, *fields)
        try:
            with self._sending:
                self._channel.sendall(frame)
        except OSError:
            # What came half-way would be continued by the next order.
            self._give_up(_ENDED)
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        """Take what it tells until it ends or tells nonsense."""
        try:
            while (report := read_frame(self._receive, MAX_REPORT_BYTES)) is not None:
                self._take(report)
            self._give_up(_ENDED)
        except OSError:
            self._give_up(_ENDED)
        except (ProtocolError, ValueError):
            self._give_up(NONSENSE)

    def _receive(self, most: int) -> bytes:
        while not select.select([self._channel], [], [], _CHECK_SECONDS)[0]:
            # It may have been stopped with its job's tasks, as we may, whom the plugin continues.
            with contextlib.suppress(ChildProcessError, ProcessLookupError, PermissionError):
                if os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WNOHANG) is not None:
                    os.kill(self._pid, signal.SIGCONT)
        return self._channel.recv(most)

    def _take(self, report: list[str]) -> None:
        """Act on one report; raise ProtocolError or ValueError for nonsense."""
        kind, *fields = report or [""]
        match Report(kind):
            case Report.OPENED:
                self._is_open.set()
            case Report.REFUSED:
                self._give_up(printable(fields[0][:MAX_TEXT_LENGTH]) if fields else NONSENSE)
            case Report.LOG:
                level, text = fields
                self._log_record(require_number(level), text)
            case Report.TOKEN:
                key, text, seconds = fields
                self.tokens.note(key, text, require_number(seconds))
            case Report.DONE:
                self._deliver(fields[:1], fields[1:])
            case Report.FAILED:
                self._deliver(fields[:1], error_from_fields(fields[1:]))

    def _log_record(self, level: int, text: str) -> None:
        if self._log_records_left > 0:
            self._log_records_left -= 1
            shown = printable(text[:MAX_TEXT_LENGTH])
            log.log(level if level in _LEVELS else logging.DEBUG, "%s", shown)

    def _deliver(self, call: Sequence[str], result: list[str] | QrmiError) -> None:
        with self._lock:
            results = self._waiting.get(require_number("".join(call)))
        # Nobody waits any more for what comes after its deadline.
        if results is not None:
            results.put(result)

    def _give_up(self, reason: str) -> None:
        """Let all that waits, and all that comes, fail with this reason."""
        with self._lock:
            self._failure = self._failure or reason
            waiting = list(self._waiting.values())
        for results in waiting:
            results.put(ServiceError(self._failure, may_have_acted=True))
        self._is_open.set()


class _RemoteServices(Services):
    """The services as the network process asks them."""

    def __init__(self, network: Network, work: str, deadline: Deadline) -> None:
        self._network = network
        self._work = work
        self._deadline = deadline
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._providing: dict[Login, threading.Lock] = {}
        self._provided: set[Login] = set()

    def ask_about(self, subject: Subject, kind: str, settings: Settings) -> Ask:
        """Tell the process what it will be asked about; return what asks it about that."""
        number = str(next(self._numbers))
        facts = [
            "" if each is None else str(each)
            for each in (settings.remaining_seconds, settings.uid, settings.job_id)
        ]
        whose = "site" if settings.has_sites_login else ""
        fields = (kind, settings.resource_name, *facts, whose, *pairs_to_fields(settings.values))
        self._network.order(Order.SUBJECT, self._work, number, *fields)
        return partial(self._ask, subject, settings, number)

    def _ask(
        self, subject: Subject, settings: Settings, number: str, call: Call, *fields: str
    ) -> list[str]:
        """Have something asked about a subject within this piece of work, see `Network.call`."""
        # Only what is wholly the site's has a token that the node keeps.
        if subject.login is not None and settings.has_sites_login:
            self._provide_token(subject.login, number)
        credentials = self._make_credentials(subject, settings, call)
        proved = (str(len(credentials)), *credentials, *fields)
        try:
            return self._network.call(self._work, self._deadline, call, number, *proved)
        finally:
            self._network.tokens.keep_new()

    def _make_credentials(self, subject: Subject, settings: Settings, call: Call) -> list[str]:
        """Return what a call needs to prove that this node asks; raise CredentialError."""
        count = subject.munge_credentials.get(call.value, 0)
        if count and not settings.has_sites_login:
            raise CredentialError("root's MUNGE credential goes to no endpoint of a user's")
        credentials = self._network.munge.make(count, self._deadline)
        self._network.tokens.hide(credentials)
        return credentials

    def _provide_token(self, login: Login, subject_number: str) -> None:
        """Let the work have the login's token, before anything is asked with it."""
        network, deadline = self._network, self._deadline
        with self._lock:
            lock = self._providing.setdefault(login, threading.Lock())
        with lock:
            if login not in self._provided:
                self._provided.add(login)
                network.tokens.provide(
                    login,
                    deadline,
                    partial(network.order, Order.LOGIN, self._work, subject_number),
                    partial(network.call, self._work, deadline, Call.LOG_IN, subject_number, "0"),
                )
