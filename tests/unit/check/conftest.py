# SPDX-License-Identifier: GPL-3.0-or-later
"""The node that all tests of checks begin with."""

from pathlib import Path

import pytest

from tests.unit.check.checked_node import CheckedNode


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CheckedNode:
    return CheckedNode(tmp_path, monkeypatch)
