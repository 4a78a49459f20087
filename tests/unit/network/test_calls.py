# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network process tells of a call is checked before it is believed."""

import pytest

from spank_qrmi.errors import ServiceError
from spank_qrmi.network.calls import CALLS, Call, ResourceCalls
from spank_qrmi.network.messages import usage_fields
from spank_qrmi.usage import NOT_TOLD, Usage


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (["2500", "3", "400"], Usage(2.5, 3, 400)),
        (["0", "", "0"], Usage(0.0, None, 0)),
        (["", "", ""], NOT_TOLD),
        (["-1", "2.5", "nan"], NOT_TOLD),
        (["9" * 30, "9" * 5000, "\u0661"], NOT_TOLD),
    ],
)
def test_what_was_used_is_numbers(result: list[str], expected: Usage) -> None:
    assert ResourceCalls(None, lambda *_: result).usage("token") == expected
    assert ResourceCalls(None, lambda *_: usage_fields(expected)).usage("token") == expected


@pytest.mark.parametrize("result", [[], ["1"], ["1", "2", "3", "4"]])
def test_what_tells_no_usage_is_refused(result: list[str]) -> None:
    with pytest.raises(ServiceError, match="cannot be read"):
        ResourceCalls(None, lambda *_: result).usage("token")


def test_every_call_has_a_line_in_the_table() -> None:
    assert set(CALLS) == set(Call)
