# SPDX-License-Identifier: GPL-3.0-or-later
"""Which known name a wrong one may be meant for. plugin/catalog.pxd has the same rule."""

from collections.abc import Iterable

MOST_SLIPS = 2


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is fewest slips away, at most two; of several the first.

    A slip is a byte too many, missing or wrong; ASCII capitals are small letters. As many slips as
    the name has bytes would make any other of it.
    """
    most = min(MOST_SLIPS, len(name.encode()) - 1)
    found = None
    for each in known:
        slips = _slips_between(name.encode().lower(), each.encode().lower(), most)
        if slips <= most:
            found, most = each, slips - 1
    return found


def _slips_between(one: bytes, other: bytes, most: int) -> int:
    """Return how many slips lie between two names, any larger number for more than `most`."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    row = list(range(len(other) + 1))
    for place, byte in enumerate(one, start=1):
        diagonal, row[0] = row[0], place
        for at, its_byte in enumerate(other, start=1):
            fewest = min(row[at] + 1, row[at - 1] + 1, diagonal + (byte != its_byte))
            diagonal, row[at] = row[at], fewest
        if min(row) > most:
            return most + 1
    return row[-1]
