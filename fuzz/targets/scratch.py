# SPDX-License-Identifier: GPL-3.0-or-later
"""Where targets put their files: a run writes them a million times."""

import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 (the folders that are made there are ours alone)

_folders: list["tempfile.TemporaryDirectory[str]"] = []


def folder_in_memory() -> Path:
    """Return a new folder, in memory where there is such a place; it goes with the process."""
    parent = _MEMORY if _MEMORY.is_dir() else None
    folder = tempfile.TemporaryDirectory(prefix="spank_qrmi_fuzz_", dir=parent)
    _folders.append(folder)
    return Path(folder.name)
