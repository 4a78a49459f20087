# SPDX-License-Identifier: GPL-3.0-or-later
"""The network process: it alone speaks with vendors' services, and is not root when it does.

It is forked from the worker before that has read anything, so it knows no secret but those that it
is asked with. It opens the HTTP client and reads certificates, gives up root, and then carries
out calls until the worker closes its end.
"""

import contextlib
import logging
import os
import resource
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import NoReturn

from spank_qrmi.answer import logging_to
from spank_qrmi.clients.base import Exchange, OneTimeCredentials, Settings
from spank_qrmi.clients.http import HttpClient, open_client
from spank_qrmi.clients.tokens import Login, TokenSource
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ProtocolError, QrmiError, ServiceError
from spank_qrmi.network.calls import CALLS, Call, Subject, subject_of
from spank_qrmi.network.messages import (
    MAX_FRAME_BYTES,
    Order,
    Report,
    encode_frame,
    error_fields,
    fields_to_pairs,
    read_frame,
)
from spank_qrmi.redaction import error_place
from spank_qrmi.trust import privileges
from spank_qrmi.trust.descriptors import keep_only
from spank_qrmi.trust.worker_user import ids_of

log = logging.getLogger(__name__)

NETWORK_LIMITS: Mapping[int, int] = {
    resource.RLIMIT_CORE: privileges.NO_CORE,
    resource.RLIMIT_DATA: 1536 * privileges.MIB,
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_NOFILE: 512,
}
"""For what reads the network: it writes no file, and has 64 resources at once to ask for.

Each has two requests at a time, with two threads for each of them.
"""

CPU_SECONDS = 60
"""Processor time that a piece of work may need on top of the time that it may last."""

_NO_THREAD = "was not asked: the user of the worker's network process may start no more threads"


def main(channel: socket.socket, parent_pid: int) -> NoReturn:
    """Serve in a process that was just forked, with nothing left of what it inherited."""
    # As the worker: what is sent to a job's tasks may be sent to us too. Its end ends us.
    privileges.block_signals()
    channel = keep_only(channel)
    # Leaves nothing but standard error to read or to spoil.
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    privileges.limit(NETWORK_LIMITS)

    def give_up_root(user: str, seconds: float) -> None:
        if os.geteuid() == 0:
            privileges.become(*ids_of(user))
        else:
            log.debug("requests are made as user %d: only root can change that", os.geteuid())
        privileges.seal(parent_pid)
        privileges.limit({resource.RLIMIT_CPU: int(seconds) + CPU_SECONDS})

    with contextlib.suppress(OSError, ProtocolError):
        CallServer(channel, give_up_root).serve()
    # A thread may still hang in a look-up of a name.
    os._exit(0)


class CallServer:
    """Carries out the worker's calls, each in a thread of its own."""

    def __init__(self, channel: socket.socket, give_up_root: Callable[[str, float], None]) -> None:
        self._channel = channel
        self._give_up_root = give_up_root
        self._sending = threading.Lock()
        # Most sites set no variables: it is ready when the worker has read what is asked for.
        self._plain_client = open_client({})
        self._clients: list[HttpClient | ServiceError] = []
        self._works: dict[str, _Work] = {}

    def serve(self) -> None:
        """Carry out orders until the worker closes its end, or requests cannot be made."""
        with logging_to(lambda level, line: self._report(Report.LOG, str(level), line)):
            while (frame := read_frame(self._channel.recv, MAX_FRAME_BYTES)) is not None:
                order, *fields = frame
                if not self._carry_out(Order(order), fields):
                    break

    def _carry_out(self, order: Order, fields: Sequence[str]) -> bool:
        """Return whether to go on."""
        match order:
            case Order.OPEN:
                return self._open(*fields)
            case Order.WORK:
                number, index, seconds = fields
                client = self._clients[int(index)]
                self._works[number] = _Work(client, float(seconds), self._report)
            case Order.SUBJECT:
                work, *subject = fields
                self._works[work].add_subject(*subject)
            case Order.LOGIN:
                work, *login = fields
                self._works[work].add_token(*login)
            case Order.CANCEL:
                self._works[fields[0]].deadline.cancel()
            case Order.CALL:
                self._begin_call(fields)
        return True

    def _begin_call(self, fields: Sequence[str]) -> None:
        """Carry it out in a thread; one that cannot be had fails its call, which asked nothing."""
        try:
            threading.Thread(target=self._carry_out_call, args=fields, daemon=True).start()
        except RuntimeError:
            self._report(Report.FAILED, fields[0], *error_fields(ServiceError(_NO_THREAD)))

    def _open(self, user: str, seconds: str, *node_variables: str) -> bool:
        """Open a client for each set of variables, and give up root."""
        try:
            self._clients = [
                open_client(each) if each else self._plain_client
                for each in _sets_in(node_variables)
            ]
            self._give_up_root(user, float(seconds))
        except QrmiError as error:
            self._report(Report.REFUSED, str(error))
            return False
        except Exception as error:  # noqa: BLE001 (whatever it is, nothing may be asked as root)
            self._report(Report.REFUSED, f"requests cannot be made: {error_place(error)}")
            return False
        self._report(Report.OPENED)
        return True

    def _carry_out_call(self, number: str, work: str, call: str, *fields: str) -> None:
        try:
            result = self._works[work].result_of(Call(call), *fields)
            self._report(Report.DONE, number, *result)
        except QrmiError as error:
            self._report(Report.FAILED, number, *error_fields(error))
        except Exception as error:  # noqa: BLE001 (one resource's bug must not take the others down)
            log.error("internal error: %s", error_place(error))
            # Nobody knows how far it had come.
            failure = ServiceError(f"internal error ({type(error).__name__})", may_have_acted=True)
            self._report(Report.FAILED, number, *error_fields(failure))

    def _report(self, report: Report, *fields: str) -> None:
        frame = encode_frame(report, *fields)
        # Without the worker nobody is left to tell, and the other thread sees the end.
        with self._sending, contextlib.suppress(OSError):
            self._channel.sendall(frame)


class _Work:
    """One piece of work, the worker's `Services`: a deadline, and what is asked within it."""

    def __init__(
        self, client: HttpClient | ServiceError, seconds: float, report: Callable[..., None]
    ) -> None:
        self.deadline = Deadline(seconds)
        self._failure = client if isinstance(client, ServiceError) else None
        self._subjects: dict[str, Callable[[], Subject]] = {}
        self._exchanges: dict[str, Exchange] = {}
        self._keys: dict[Login, str] = {}
        self._report = report
        if not isinstance(client, ServiceError):
            http = client.within(self.deadline)
            self._exchange = Exchange(http, TokenSource(http, tell=self._report_token))
            # A user who names the site's login and an endpoint of his own is to meet another token.
            self._users_exchange = Exchange(http, TokenSource(http))

    def add_subject(self, subject_number: str, kind: str, name: str, *fields: str) -> None:
        """Take what calls with this number are about."""
        *facts, whose = fields[:4]
        seconds, uid, job_id = (int(each) if each else None for each in facts)
        settings = Settings(
            *(name, fields_to_pairs(fields[4:]), seconds, whose == "site", uid, job_id)
        )
        # Made once a call needs it: what cannot be made fails that call, and no other.
        self._subjects[subject_number] = cache(partial(subject_of, kind, settings))
        if self._failure is None:
            is_sites = settings.has_sites_login
            self._exchanges[subject_number] = self._exchange if is_sites else self._users_exchange

    def add_token(self, subject_number: str, key: str, token: str, seconds: str) -> None:
        """Take the key by which a login's tokens are told, and its token if there is one."""
        login = self._subjects[subject_number]().login
        if login is not None and self._failure is None:
            self._keys[login] = key
            if token:
                self._exchange.tokens.use(login, token, float(seconds))

    def _report_token(self, login: Login, token: str, seconds: float) -> None:
        if login in self._keys:
            seconds_text = str(max(0, int(seconds)))
            self._report(Report.TOKEN, self._keys[login], token, seconds_text)

    def result_of(self, call: Call, subject_number: str, count: str, *fields: str) -> list[str]:
        """Return the fields of a call's result; raise QrmiError if it failed.

        `fields` begin with so many credentials.
        """
        if self._failure is not None:
            raise self._failure
        end = int(count)
        exchange, subject = self._exchanges[subject_number], self._subjects[subject_number]()
        own = replace(exchange, credentials=OneTimeCredentials(fields[:end]))
        return CALLS[call](own, subject, *fields[end:]) or []


def _sets_in(fields: Sequence[str]) -> list[dict[str, str]]:
    """Return the sets of variables that an order to open lists."""
    sets = []
    rest = list(fields)
    while rest:
        end = 1 + 2 * int(rest[0])
        sets.append(fields_to_pairs(rest[1:end]))
        rest = rest[end:]
    return sets
