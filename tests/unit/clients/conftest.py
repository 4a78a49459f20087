# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the clients begin with."""

from collections.abc import Iterator

import pytest

from spank_qrmi.clients.http import HttpClient
from tests.unit.fake_services import RecordingDeadline


@pytest.fixture(autouse=True)
def _checked_logs(no_secret_in_logs: None, no_settings_of_this_machine: None) -> None:
    """Keep log records of every level, which show no secret; let no proxy be set."""


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with HttpClient(RecordingDeadline()) as http:
        yield http
