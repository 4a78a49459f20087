# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs in place of a machine's own, and commands that are run to their end."""

import subprocess
from pathlib import Path
from typing import Any


def write_program(path: Path, script: str) -> Path:
    """Write a shell script that can be run, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def ended(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Return how a command has ended, and what it has printed."""
    command = [str(word) for word in words]
    return subprocess.run(command, check=False, capture_output=True, text=True, **options)
