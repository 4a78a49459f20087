# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network process tells of a call is checked before it is believed."""

from functools import partial

from spank_qrmi.errors import ServiceError
from spank_qrmi.network.calls import CALLS, Call, ResourceCalls
from spank_qrmi.network.messages import NONSENSE, usage_fields
from spank_qrmi.usage import NOT_TOLD, Usage
from tests.unit.outcomes import refusal_of, trying


def test_what_was_used_is_numbers() -> None:
    for result, expected in (
        (["2500", "3", "400"], Usage(2.5, 3, 400)),
        (["0", "", "0"], Usage(0.0, None, 0)),
        (["", "", ""], NOT_TOLD),
        (["-1", "2.5", "nan"], NOT_TOLD),
        (["9" * 30, "9" * 5000, "\u0661"], NOT_TOLD),
    ):
        for told in (result, usage_fields(expected)):
            with trying(told):
                assert ResourceCalls(None, lambda *_, told=told: told).usage("token") == expected


def test_answer_that_cannot_be_read_is_the_processs_fault() -> None:
    calls = ResourceCalls(None, lambda *_: ["bright"])
    for ask in (calls.full_status, calls.clock_offsets, partial(calls.usage, "token")):
        assert refusal_of(ServiceError, ask) == NONSENSE


def test_every_call_has_a_line_in_the_table() -> None:
    assert set(CALLS) == set(Call)
