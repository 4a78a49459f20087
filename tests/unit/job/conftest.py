# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of acquiring and releasing."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from spank_qrmi import at_once
from spank_qrmi.admin import held
from spank_qrmi.deadline import Deadline
from spank_qrmi.network.calls import Services
from spank_qrmi.state.journal import Journal
from tests.unit.conversation import ServingWorker
from tests.unit.fake_vendor import FakeVendor
from tests.unit.job.job_node import Node
from tests.unit.local_network import LocalNetwork


@pytest.fixture
def node(tmp_path: Path, serving: ServingWorker, vendor: FakeVendor) -> Node:
    return Node(tmp_path, serving, vendor)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time within a second that stands still."""
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.9)


@pytest.fixture
def deadlines(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How many seconds the services were given, each time that they were asked for."""
    seconds: list[float] = []
    services = LocalNetwork.services

    def note(network: LocalNetwork, deadline: Deadline, variables: Mapping[str, str]) -> Services:
        seconds.append(deadline.remaining_seconds())
        return services(network, deadline, variables)

    monkeypatch.setattr(LocalNetwork, "services", note)
    return seconds


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs is given up as soon as the deadline has passed, or is cancelled."""
    monkeypatch.setattr(at_once, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(at_once, "_CANCEL_GRACE_SECONDS", 0.0)


@pytest.fixture
def command_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`spank-qrmi release` asks the network itself, and may be anybody's code."""
    monkeypatch.setenv("SLURM_CONF", os.devnull)
    monkeypatch.setattr(held, "fork_network_process", LocalNetwork)
    monkeypatch.setattr(held, "refuse_untrusted_code", lambda *_: None)
    monkeypatch.setattr(held.privileges, "limit", lambda _: None)
