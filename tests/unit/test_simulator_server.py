# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator's server: binding, stopping at once."""

import contextlib

import httpx
import pytest

from spank_qrmi.simulator.server import bind, running_in_thread
from spank_qrmi.simulator.site import Site

DEVICES = "/pasqal/core-fast/api/v1/devices"


def test_stopping_closes_a_kept_connection() -> None:
    with contextlib.ExitStack() as running:
        base_url = running.enter_context(running_in_thread(Site()))
        with httpx.Client(base_url=base_url, trust_env=False, timeout=10) as client:
            client.get(DEVICES)
            running.close()
            with pytest.raises(httpx.ConnectError):
                client.get(DEVICES)


def test_ipv6_address_is_bracketed_in_the_url() -> None:
    try:
        listener, base_url = bind("::1", 0)
    except OSError as error:
        pytest.skip(f"no IPv6 loopback address: {error}")
    with listener:
        assert base_url == f"http://[::1]:{listener.getsockname()[1]}"
