# SPDX-License-Identifier: GPL-3.0-or-later
"""MUNGE credentials of nobody, where no munged runs."""

from pathlib import Path
from uuid import uuid4

from spank_qrmi.clients.base import OneTimeCredentials

MUNGE_START = "MUNGE:do0not0show"
"""How each of them begins."""

# No two of its credentials are alike.
_PROGRAM = f"""#!/bin/sh
read -r id < /proc/sys/kernel/random/uuid
printf '{MUNGE_START}%s:\\n' "$id" | tr -d -
"""


def munge_credentials(count: int = 10) -> OneTimeCredentials:
    """Return so many credentials, no two of them alike."""
    return OneTimeCredentials([f"{MUNGE_START}{uuid4().hex}:" for _ in range(count)])


def write_munge(folder: Path, program: str = _PROGRAM) -> None:
    """Put a program into the folder that stands in for munge(1)."""
    path = folder / "munge"
    path.write_text(program)
    path.chmod(0o755)
