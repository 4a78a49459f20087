# SPDX-License-Identifier: GPL-3.0-or-later
"""The node that all tests of checks begin with."""

import os
from pathlib import Path

import pytest

from tests.unit.check.checked_node import CheckedNode


@pytest.fixture
def node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CheckedNode:
    if os.geteuid() != 0:
        pytest.skip("only root sees what jobs will meet")
    return CheckedNode(tmp_path, monkeypatch, capsys)
