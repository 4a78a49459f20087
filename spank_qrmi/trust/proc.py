# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of proc(5)."""

from pathlib import Path

ROOT = "/proc"


def read_proc(name: str) -> bytes:
    """Return a file's content, without a codec; raise OSError if there is none."""
    return Path(ROOT, name).read_bytes()
