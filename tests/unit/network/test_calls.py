# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network process tells of a call is checked before it is believed."""

import pytest

from spank_qrmi.network.calls import CALLS, Call, ResourceCalls


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (["2500"], 2.5),
        (["0"], 0.0),
        ([], None),
        (["-1"], None),
        (["2.5"], None),
        (["nan"], None),
        (["9" * 30], None),
        ([""], None),
    ],
)
def test_what_was_used_is_a_time(result: list[str], expected: float | None) -> None:
    assert ResourceCalls(None, lambda *_: result).used_seconds("token") == expected


def test_every_call_has_a_line_in_the_table() -> None:
    assert set(CALLS) == set(Call)
