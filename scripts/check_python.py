# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse a Python that the worker cannot run with, or that others than root could replace.

Runs with the Python in question, which may be an old one: the syntax is that of 3.6.
"""

import os
import sys
from pathlib import Path

# Nothing is installed for this Python yet.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from spank_qrmi.trust.paths import trouble_with

OLDEST = (3, 10)
REMEDY = "choose another one: make PYTHON=/path/to/python3"


def trouble_with_version(version: "tuple[int, int]") -> str:
    """Return why this version of Python will not do; nothing if it will."""
    if version >= OLDEST:
        return ""
    found, needed = (".".join(map(str, numbers)) for numbers in (version, OLDEST))
    return f"Python {found} is too old: the worker needs {needed} or later; {REMEDY}"


def trouble_with_paths(*paths: Path) -> str:
    """Return which file or folder on the way to one of the paths others than root may change.

    The worker runs as root: who can replace its interpreter or its library is root as well.
    """
    trouble = trouble_with(list(paths))
    return f"{trouble}; {REMEDY}" if trouble else ""


def main() -> None:
    """End with one line if the Python that runs this will not do."""
    trouble = trouble_with_version(sys.version_info[:2]) or trouble_with_paths(
        Path(sys.executable), Path(os.__file__)
    )
    if trouble:
        sys.exit(f"error: {sys.executable}: {trouble}")


if __name__ == "__main__":
    main()
