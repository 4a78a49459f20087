# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the monitor's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spank_qrmi.answer import logging_to
from spank_qrmi.monitor.slurm_commands import SlurmCommands
from tests.unit.fake_scontrol import FakeScontrol


@pytest.fixture
def scontrol(tmp_path: Path) -> FakeScontrol:
    return FakeScontrol(tmp_path / "slurm")


@pytest.fixture
def commands(scontrol: FakeScontrol) -> SlurmCommands:
    return SlurmCommands(scontrol.folder)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged."""
    found: list[str] = []
    with logging_to(lambda level, line: found.append(line)):
        yield found
