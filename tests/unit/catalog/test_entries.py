# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use a QPU, as its entry says."""

import pytest

from tests.unit.catalog.sample import entry


@pytest.mark.parametrize(
    ("uids", "gids", "expected"),
    [
        (None, None, True),
        ((7,), None, True),
        ((8,), None, False),
        (None, (70,), True),
        (None, (80,), False),
        ((8,), (70,), True),
        ((7,), (80,), True),
        ((), None, False),
        (None, (), False),
    ],
)
def test_user_or_group_lets_in(
    uids: tuple[int, ...] | None, gids: tuple[int, ...] | None, expected: bool
) -> None:
    assert entry(uids=uids, gids=gids).is_for(7, [60, 70]) is expected
