# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the monitor's tests."""

from collections.abc import Iterator

import pytest

from spank_qrmi.answer import logging_to


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged."""
    found: list[str] = []
    with logging_to(lambda level, line: found.append(line)):
        yield found
