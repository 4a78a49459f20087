# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix leaves no cell open, and names tests that there are."""

from pathlib import Path

from tests.slurm.fault_matrix import ELSEWHERE, FAULTS, HERE, NO, STAGES, cells
from tests.slurm.test_fault_matrix import CELLS_RUN
from tests.unit.vendors import VENDORS

FOLDER = Path(__file__).resolve().parents[1] / "slurm"


def test_every_cell_says_where_it_is_tested_or_why_not() -> None:
    assert len(cells()) == len(FAULTS) * len(STAGES) * len(VENDORS)
    for where in cells().values():
        if where != HERE and not where.startswith(NO):
            file, _, test = where.partition("::")
            assert f"def {test}(" in (FOLDER / file).read_text(), where


def test_cells_that_are_here_are_run_here() -> None:
    assert {cell for cell, where in cells().items() if where == HERE} == CELLS_RUN


def test_no_cell_is_said_to_be_elsewhere_in_vain() -> None:
    said = cells()
    for vendor, tests in ELSEWHERE.items():
        for (fault, stage), where in tests.items():
            assert said[fault, stage, vendor] == where
