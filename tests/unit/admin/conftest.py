# SPDX-License-Identifier: GPL-3.0-or-later
"""The command, and a node with a journal for it, run by the process of the tests."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spank_qrmi.admin import held
from spank_qrmi.admin.command import main
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.owner import Owner, owner_of
from tests.unit.fake_vendor import TYPE
from tests.unit.local_network import LocalNetwork

NOW = 1_700_000_000
BATCH_STEP = 0xFFFFFFFB
ALIVE = owner_of(os.getpid())
GONE = Owner(os.uname().nodename, "another boot", 1, 2, 3)
SECRET = "secret-of-the-site"
UNREADABLE = "8-0-0-0123456789abcdef.json"

Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs the command; it returns the exit status and what was printed."""

    def run(*arguments: str) -> tuple[int, list[str]]:
        status = main(arguments)
        printed = capsys.readouterr()
        return status, [*printed.out.splitlines(), *printed.err.splitlines()]

    return run


class HeldNode:
    """A node with a journal; no output of its commands shows a secret of an entry."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder = folder
        self._run = run

    def hold(self, name: str, **changes: Any) -> None:
        entry = Entry(
            *(7, 0, BATCH_STEP, 0, name, TYPE, {"QRMI_KEY": SECRET}),
            token=f"token-{name}",
            acquired_at=NOW,
            owner=GONE,
            hold="a session",
            ends_at=NOW + 100,
        )
        with Journal(self.folder).begin(replace(entry, **changes)):
            pass

    def spoil(self) -> str:
        """Put a file there that is no entry; return how what is told of it begins."""
        (self.folder / UNREADABLE).write_text("{")
        return f"{self.folder}/{UNREADABLE}: is no entry of this"

    def run(self, *arguments: str) -> tuple[int, list[str]]:
        """Run the command; return its exit status and what it printed."""
        return self.run_as_said(*arguments, f"--state-dir={self.folder}")

    def run_as_said(self, *arguments: str) -> tuple[int, list[str]]:
        """Run the command with these arguments alone."""
        status, lines = self._run(*arguments)
        assert not [line for line in lines if SECRET in line or "token-" in line]
        return status, lines

    def held(self) -> list[str]:
        entries = Journal(self.folder).entries()
        return sorted(entry.resource_name for entry in entries if isinstance(entry, Entry))


@pytest.fixture
def node(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> HeldNode:
    monkeypatch.setenv("SLURM_CONF", os.devnull)
    monkeypatch.setattr(held, "fork_network_process", LocalNetwork)
    # The environment of the tests may be anybody's.
    monkeypatch.setattr(held, "refuse_untrusted_code", lambda *_: None)
    # They would last for all other tests.
    monkeypatch.setattr(held.privileges, "limit", lambda _: None)
    return HeldNode(tmp_path / "journal", run)
