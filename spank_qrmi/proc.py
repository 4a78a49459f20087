# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of proc(5)."""

ROOT = "/proc"


def read_proc(name: str) -> bytes:
    """Return a file's content, without a codec; raise OSError if there is none."""
    with open(f"{ROOT}/{name}", "rb") as file:  # noqa: PTH123 (see `light.paths`)
        return file.read()
