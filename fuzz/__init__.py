# SPDX-License-Identifier: GPL-3.0-or-later
"""Any bytes at all that reach the plugins and their worker: `make fuzz`, and the kept corpus."""

from pathlib import Path

PROJECT = Path(__file__).parents[1]
CORPUS = PROJECT / "fuzz" / "corpus"
"""A folder for each target: messages as they really are, hostile ones, and what found new code."""


def kept_inputs(target: str) -> list[Path]:
    """Return the files of a target's corpus."""
    return sorted((CORPUS / target).iterdir())
