# SPDX-License-Identifier: GPL-3.0-or-later
"""How many licences a QPU's state takes from jobs."""

from itertools import product

from spank_qrmi.monitor.withholding import Withheld, licenses_to_withhold
from spank_qrmi.status import QpuState, QpuStatus
from tests.unit.outcomes import trying

ONLINE, BUSY = QpuState.ONLINE, QpuState.BUSY


def test_without_numbers_the_state_decides() -> None:
    away = (QpuState.PAUSED, QpuState.OFFLINE, QpuState.UNKNOWN)
    for state, used in product(away, (0, 2, 4)):
        status = QpuStatus(state, free_slots=3, total_slots=4)
        assert licenses_to_withhold(status, 4, used, 1) == Withheld(4), (state, used)
    # What is free is taken of one that is busy, and nothing of one that is online.
    for used, count in ((0, 4), (1, 3), (4, 0), (5, 0)):
        assert licenses_to_withhold(QpuStatus(BUSY), 4, used, None) == Withheld(count), used
        assert licenses_to_withhold(QpuStatus(ONLINE), 4, used, 2) == Withheld(0), used


def test_slots() -> None:
    """Slots are free and all there are, licences all there are and used."""
    for state, slots, licenses, before, withheld in (
        # Others use two of three: one job may start, and then no other, before and after it has
        # taken its slot.
        (ONLINE, (1, 3), (3, 0), None, (2, 2)),
        (ONLINE, (1, 3), (3, 1), 2, (2, 2)),
        # All are ours: whoever ends lets the next one in, at once.
        (BUSY, (0, 3), (3, 3), 0, (0, 0)),
        # Another one comes while two of ours run.
        (BUSY, (0, 3), (3, 2), 0, (1, 1)),
        # Others leave.
        (ONLINE, (3, 3), (3, 0), 2, (0, 0)),
        # The monitor has just started, and one of our jobs has not taken its slot.
        (ONLINE, (2, 3), (3, 2), None, (0, 0)),
        # More licences than slots.
        (ONLINE, (2, 3), (6, 0), None, (4, 1)),
        (BUSY, (0, 3), (6, 2), 3, (6, 3)),
        # Only what is free is told.
        (ONLINE, (1, None), (3, 0), None, (2, 2)),
        # Only how many there are, as of lanes; none is left for anybody.
        (ONLINE, (None, 1), (3, 0), None, (2, None)),
        (BUSY, (None, 3), (3, 1), None, (2, None)),
        (BUSY, (None, 0), (3, 1), None, (3, None)),
        # A service that contradicts itself.
        (ONLINE, (9, 3), (5, 0), None, (0, 0)),
        (BUSY, (2, 3), (4, 1), 1, (3, 1)),
        # No licence at all, and jobs that have some, as after a change of slurm.conf.
        (BUSY, (0, 3), (0, 2), None, (0, 1)),
    ):
        with trying((state, slots, licenses, before)):
            status = QpuStatus(state, free_slots=slots[0], total_slots=slots[1])
            assert licenses_to_withhold(status, *licenses, before) == Withheld(*withheld)
