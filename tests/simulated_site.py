# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of a simulated site in the process of the tests, for the rings that ask one."""

from collections.abc import Iterator

import pytest

from spank_qrmi_simulator.munge import AnyMunge
from spank_qrmi_simulator.server import running_in_thread
from spank_qrmi_simulator.site import Site


@pytest.fixture(scope="module")
def site() -> Site:
    """A simulated site, shared by a module's tests."""
    return Site(decode=AnyMunge())


@pytest.fixture(scope="module")
def base_url(site: Site) -> Iterator[str]:
    """Where the site answers."""
    with running_in_thread(site) as url:
        yield url
