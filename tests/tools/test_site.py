# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated site as tests and the demonstration start it."""

from pathlib import Path

from loopback.site import Site


def test_site_started_again_in_a_used_folder_is_asked_where_it_is_now(tmp_path: Path):
    with Site(tmp_path) as first:
        former_url = first.url
    with Site(tmp_path) as second:
        assert second.url != former_url
        assert second.sessions() == []
