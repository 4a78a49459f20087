# SPDX-License-Identifier: GPL-3.0-or-later
"""What variables tell of a job's time limit."""

from spank_qrmi.time_limit import timeout_seconds_of_job


def test_time_limit_in_seconds() -> None:
    limits = {
        (60, None): 3600,
        (60, 1800): 1800,
        (30, 1800): 1800,
        (29, 1800): 1740,
        (0, None): 0,
        (None, None): 4294967295,
        (None, 1800): 1800,
        (60, None, 1800): 1800,
        (60, 1800, 7200): 1800,
        (0xFFFFFFF0, None): 4294967295,
    }
    assert {limit: timeout_seconds_of_job(*limit) for limit in limits} == limits
