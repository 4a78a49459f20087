# SPDX-License-Identifier: GPL-3.0-or-later
"""A vendor whose client does what a test orders, for everything that works above the clients."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import pytest

from spank_qrmi.clients import CLIENTS
from spank_qrmi.clients.base import Client, Exchange, Hold, ReadTo, Settings
from spank_qrmi.status import QpuState, QpuStatus
from spank_qrmi.usage import NOT_TOLD, Usage

TYPE = "fake"
LONGEST_TASK_SECONDS = 1000
HOLD_SECONDS = 2000

Order = Exception | Callable[[], None]


class FakeVendor:
    """What each step does for a resource by name: an exception is raised, a function called.

    `events` are "verb name", in the order in which they began.
    """

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.brought: set[str] = set()
        self.hold_seconds: int | None = HOLD_SECONDS
        self.only_agrees = False
        self.usage = NOT_TOLD
        self.events: list[str] = []
        self.settings: dict[str, Settings] = {}

    def do(self, verb: str, name: str) -> None:
        event = f"{verb} {name}"
        self.events.append(event)
        order = self.orders.get(event)
        if isinstance(order, Exception):
            raise order
        if order is not None:
            order()

    def events_of(self, verb: str) -> set[str]:
        """Return what was done with one verb: names, or for a release tokens."""
        return {event.split()[1] for event in self.events if event.startswith(f"{verb} ")}

    def serve(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put this vendor into the table of clients as type "fake"."""
        vendor = self

        class FakeClient(Client):
            keys: ClassVar[Mapping[str, ReadTo]] = {
                "QRMI_ENDPOINT": ReadTo.RELEASE,
                "QRMI_KEY": ReadTo.RELEASE,
                "QRMI_PLAIN": ReadTo.RELEASE,
                "QRMI_MODE": ReadTo.ACQUIRE,
            }
            sent_to: ClassVar[Mapping[str, tuple[str, ...]]] = {"QRMI_ENDPOINT": ("QRMI_KEY",)}
            longest_task_seconds = LONGEST_TASK_SECONDS

            def __init__(self, settings: Settings) -> None:
                self.resource_name = settings.resource_name
                is_brought = self.resource_name in vendor.brought
                hold = Hold(f"a hold on {self.resource_name}", vendor.hold_seconds)
                self.hold = None if is_brought else hold
                vendor.settings[self.resource_name] = settings
                vendor.do("make", self.resource_name)

            def status(self, exchange: Exchange) -> QpuStatus:
                vendor.do("check", self.resource_name)
                return QpuStatus(QpuState.ONLINE)

            def acquire(self, exchange: Exchange) -> str:
                vendor.do("acquire", self.resource_name)
                return f"token-{self.resource_name}"

            def release(self, exchange: Exchange, token: str, *, was_told: bool = False) -> bool:
                vendor.do("look again" if was_told else "release", token)
                return was_told or not vendor.only_agrees

            def usage(self, exchange: Exchange, token: str) -> Usage:
                vendor.do("usage", token)
                return vendor.usage

        monkeypatch.setitem(CLIENTS, TYPE, FakeClient)
