# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds in each test of the clients: its log records are kept, and show no secret."""

import pytest


@pytest.fixture(autouse=True)
def _checked_logs(no_secret_in_logs: None, no_settings_of_this_machine: None) -> None:
    """Records of every level are in `caplog`; no proxy and no certificate is set."""
