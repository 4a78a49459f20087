# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of licences as Slurm writes them for a job: `a:2,b@server:1`."""

import re
from collections import Counter
from collections.abc import Mapping

from spank_qrmi.numbers_in_text import parse_number

_BETWEEN_LICENSES = re.compile("[,;]")
_BEFORE_COUNT = re.compile("[:=]")
_LARGEST_COUNT = 2**32 - 1


def held_licenses(text: str) -> Mapping[str, int]:
    """Return how many a job holds of each licence that it surely holds, in any text.

    A count that is left out is 1; the server of a remote licence is no part of its name. `a|b` is a
    choice that Slurm makes, of which such a list does not tell what was chosen (sbatch(1),
    --licenses). What is no licence is left out.
    """
    counts: Counter[str] = Counter()
    if "|" in text:
        return counts
    for each in _BETWEEN_LICENSES.split(text):
        name, *rest = _BEFORE_COUNT.split(each.strip(), maxsplit=1)
        count = parse_number(rest[0], _LARGEST_COUNT) if rest else 1
        name = name.partition("@")[0]
        if name and count:
            counts[name] += count
    return counts
