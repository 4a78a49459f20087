# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use a QPU, as its entry says."""

from tests.unit.catalog.sample import entry


def test_user_or_group_lets_in() -> None:
    let_in = [(None, None), ((7,), None), (None, (70,)), ((8,), (70,)), ((7,), (80,))]
    kept_out = [((8,), None), (None, (80,)), ((), None), (None, ())]
    of_both = {ids: entry(uids=ids[0], gids=ids[1]) for ids in let_in + kept_out}
    assert [ids for ids, each in of_both.items() if each.is_for(7, [60, 70])] == let_in
