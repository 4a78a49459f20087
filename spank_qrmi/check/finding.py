# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check has found: right, doubtful or wrong, what, and what to do about it."""

from dataclasses import dataclass
from enum import IntEnum


class Verdict(IntEnum):
    """How a finding is; the number is the command's exit status."""

    RIGHT = 0
    DOUBTFUL = 1
    WRONG = 2


@dataclass(frozen=True)
class Finding:
    """One line for people, which names the place, and the line to change or the command to run.

    Neither holds a secret.
    """

    verdict: Verdict
    text: str
    remedy: str = ""


def right(text: str) -> Finding:
    """Return what is as it should be."""
    return Finding(Verdict.RIGHT, text)


def doubtful(text: str, remedy: str = "") -> Finding:
    """Return what works, or may, and should be looked at."""
    return Finding(Verdict.DOUBTFUL, text, remedy)


def wrong(text: str, remedy: str = "") -> Finding:
    """Return what keeps jobs from working, or makes them harm the node."""
    return Finding(Verdict.WRONG, text, remedy)
