# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that holds what a test says, and the command on it."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spank_qrmi.admin.command import main
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.owner import Owner, owner_of
from tests.unit.fake_vendor import TYPE

NOW = 1_700_000_000
BATCH_STEP = 0xFFFFFFFB
ALIVE = owner_of(os.getpid())
GONE = Owner(os.uname().nodename, "another boot", 1, 2, 3)
SECRET = "secret-of-the-site"
UNREADABLE = "8-0-0-0123456789abcdef.json"


class HeldNode:
    """A node with a journal; no output of its commands shows a secret of an entry."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

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
        return self.run_as_said([*arguments, f"--state-dir={self.folder}"])

    def run_as_said(self, arguments: Sequence[str]) -> tuple[int, list[str]]:
        """Run the command with these arguments alone."""
        status = main(arguments)
        printed = self._capsys.readouterr()
        assert SECRET not in printed.out + printed.err
        assert "token-" not in printed.out + printed.err
        return status, [*printed.out.splitlines(), *printed.err.splitlines()]

    def held(self) -> list[str]:
        entries = Journal(self.folder).entries()
        return sorted(entry.resource_name for entry in entries if isinstance(entry, Entry))
