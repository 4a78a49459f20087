# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers that a server has ready, and workers that slurmstepd starts: tests run with both.

The workers of a test that says nothing are spawned.
"""

from collections.abc import Iterable
from itertools import cycle

import pytest

READY, SPAWNED = WAYS = ("ready", "spawned")

both_ways = pytest.mark.parametrize("product", WAYS, indirect=True)
qrun_both_ways = pytest.mark.parametrize("qrun_product", WAYS, indirect=True)


def taking_turns(
    fixture: str, names: tuple[str, ...], cases: Iterable[tuple[object, ...]]
) -> pytest.MarkDecorator:
    """Parametrise by cases; every other one has workers that are ready."""
    chosen = [(way, *case) for way, case in zip(cycle(WAYS), cases, strict=False)]
    return pytest.mark.parametrize((fixture, *names), chosen, indirect=[fixture])
