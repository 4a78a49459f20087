# SPDX-License-Identifier: GPL-3.0-or-later
"""The node that commands look at which show and give back what is held."""

import os
from pathlib import Path

import pytest

from spank_qrmi.admin import held
from tests.unit.admin.held_node import HeldNode
from tests.unit.local_network import LocalNetwork


@pytest.fixture
def node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> HeldNode:
    monkeypatch.setenv("SLURM_CONF", os.devnull)
    monkeypatch.setattr(held, "fork_network_process", LocalNetwork)
    # The environment of the tests may be anybody's.
    monkeypatch.setattr(held, "refuse_untrusted_code", lambda *_: None)
    # They would last for all other tests.
    monkeypatch.setattr(held.privileges, "limit", lambda _: None)
    return HeldNode(tmp_path / "journal", capsys)
