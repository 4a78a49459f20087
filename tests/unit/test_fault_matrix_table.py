# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix leaves no cell open, and names tests that there are."""

from pathlib import Path

from tests.slurm.fault_matrix import FAULTS, HERE, NO, STAGES, VENDORS, cells

FOLDER = Path(__file__).resolve().parents[1] / "slurm"


def test_every_cell_says_where_it_is_tested_or_why_not() -> None:
    assert len(cells()) == len(FAULTS) * len(STAGES) * len(VENDORS)
    for where in cells().values():
        if where != HERE and not where.startswith(NO):
            file, _, test = where.partition("::")
            assert f"def {test}(" in (FOLDER / file).read_text(), where
