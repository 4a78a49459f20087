# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to the services from the process of the tests, without one that gives up root."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from spank_qrmi.clients.base import Exchange, Settings
from spank_qrmi.clients.http import HttpClient
from spank_qrmi.clients.tokens import TokenSource
from spank_qrmi.deadline import Deadline
from spank_qrmi.network.calls import CALLS, Ask, Call, Services, Subject
from spank_qrmi.network.worker_side import Network
from tests.unit.munge_credentials import munge_credentials


class LocalNetwork(Network):
    """Asks from the process of the tests, with its rights."""

    def __init__(self) -> None:
        """Start nothing."""

    def open(self, *_: object, **__: object) -> None:
        """Do nothing: clients are opened when they are needed, and fetch their own tokens."""

    # A connection ends with its request.
    wait_until_open = end = close = open

    def has_variables(self, node_variables: Mapping[str, str]) -> bool:
        return True

    def services(self, deadline: Deadline, node_variables: Mapping[str, str]) -> Services:
        return LocalServices(HttpClient(deadline), node_variables)


class LocalServices(Services):
    """The services behind one HTTP client, which is opened with `environment` when first needed.

    None as `environment`: the client is open.
    """

    def __init__(self, http: HttpClient, environment: Mapping[str, str] | None) -> None:
        self._http = http
        self._tokens = TokenSource(http)
        self._environment = environment
        self._opening = threading.Lock()

    def ask_about(self, subject: Subject, kind: str, settings: Settings) -> Ask:
        with self._opening:
            if self._environment is not None:
                self._http.open_with(self._environment)
                self._environment = None

        def ask(call: Call, *fields: str) -> list[str]:
            count = subject.munge_credentials.get(call.value, 0)
            exchange = Exchange(self._http, self._tokens, munge_credentials(count))
            return CALLS[call](exchange, subject, *fields) or []

        return ask


class asking:  # noqa: N801 (used like a function)
    """A client or service whose methods need no exchange any more: they have been given one."""

    def __init__(self, asked: object, http: HttpClient, tokens: TokenSource | None = None) -> None:
        self._asked = asked
        self._exchange = Exchange(http, tokens or TokenSource(http))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._asked, name)
        # As many as the worker makes for this call.
        count = getattr(self._asked, "munge_credentials", {}).get(name, 0)
        exchange = replace(self._exchange, credentials=munge_credentials(count))
        return partial(found, exchange) if callable(found) else found
