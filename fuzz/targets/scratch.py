# SPDX-License-Identifier: GPL-3.0-or-later
"""Where targets put their files: a run writes them a million times."""

import os
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 (the folders that are made there are ours alone)

_folders: list["tempfile.TemporaryDirectory[str]"] = []


def folder_in_memory() -> Path:
    """Return a new folder, in TMPDIR or else in memory; it goes with the process."""
    parent = None if "TMPDIR" in os.environ or not _MEMORY.is_dir() else _MEMORY
    folder = tempfile.TemporaryDirectory(prefix="spank_qrmi_fuzz_", dir=parent)
    _folders.append(folder)
    return Path(folder.name)
