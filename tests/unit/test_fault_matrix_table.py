# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix leaves no fault and stage open."""

from importlib import import_module
from itertools import product

from tests.slurm.fault_matrix import CELLS_RUN, FAULTS, NOT_THERE, STAGES


def test_every_fault_is_tried_at_every_stage_or_cannot_be_there() -> None:
    for name in ("test_fault_matrix", "test_time_limits"):
        import_module(f"tests.slurm.{name}")

    assert CELLS_RUN | set(NOT_THERE) == set(product(FAULTS, STAGES))
    assert CELLS_RUN & set(NOT_THERE) == set()
