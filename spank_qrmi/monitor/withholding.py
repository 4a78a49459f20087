# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule that says how many of a QPU's licences jobs must not get now.

A reservation of licences leaves those alone that jobs have: of L licences, of which U are used and
R are withheld, jobs can get L - R - U, none if that is less than one (tried with Slurm 22.05.8). So
R may be L at any time, and a job that starts or ends between two rounds needs no other R.
"""

from dataclasses import dataclass

from spank_qrmi.status import QpuState, QpuStatus

_OPEN = frozenset({QpuState.ONLINE, QpuState.BUSY})


@dataclass(frozen=True)
class Withheld:
    """How many licences to withhold; and of a QPU with slots, how many others seem to use."""

    count: int
    slots_of_others: int | None = None


def licenses_to_withhold(
    status: QpuStatus, total: int, used: int, slots_of_others: int | None
) -> Withheld:
    """Return what to withhold of `total` licences, of which jobs have `used`.

    - Away (paused, offline, unknown): all.
    - Busy: at least all that are free. If a job of ours ends, its licence is free: what makes the
      QPU busy may have been that job.
    - Of licences that are more than slots, those beyond: no slot has two jobs.
    - Free slots are told: one licence for each slot that others use, and all that are free if no
      slot is. No service tells whose the slots in use are, and a job that has just started has not
      taken its own yet. So what others use is remembered from round to round, `slots_of_others`,
      and only held between what it can be: at most all slots in use, at least those in use that are
      more than our jobs. At first, None, our jobs are taken to use theirs.
    - Online, without numbers: none.
    """
    if status.state not in _OPEN:
        return Withheld(total)
    slots = total if status.total_slots is None else status.total_slots
    others = None
    if status.free_slots is not None:
        slots = max(slots, status.free_slots)
        in_use = slots - status.free_slots
        least = max(0, in_use - used)
        others = least if slots_of_others is None else max(least, min(in_use, slots_of_others))
    count = max(0, total - (slots - (others or 0)))
    if status.state is QpuState.BUSY:
        count = max(count, total - used)
    return Withheld(count, others)
