# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service says that one acquisition has used."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """`seconds` of the quantum computer, `jobs` and all their `shots`; None: it is not told."""

    seconds: float | None = None
    jobs: int | None = None
    shots: int | None = None


NOT_TOLD = Usage()
