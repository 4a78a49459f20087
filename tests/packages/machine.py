# SPDX-License-Identifier: GPL-3.0-or-later
"""A clean Debian machine below a folder: packages come and go, and a QPU job runs there."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clean_root.inside import run_inside

from loopback.installation import REPOSITORY, snapshot

# Lists, caches and logs of the package managers.
_THEIR_OWN = ("var/lib/dpkg", "var/lib/apt", "root/.rpmdb", "var/cache", "var/log")
LOG = "var/log/spank_qrmi"


@dataclass(frozen=True)
class Machine:
    """The machine below `root`; the source folder is seen there, read only."""

    root: Path

    def run(self, *command: str) -> str:
        """Run a command there; return its stdout, or raise with what it wrote."""
        done = run_inside(self.root, command, show=[REPOSITORY], keep_tmp=True, timeout_seconds=300)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def run_qpu_job(self) -> dict[str, Any]:
        """Run a job by the line that the package's example gives; return how it ended."""
        folder = f"cd {REPOSITORY} && exec {sys.executable}"
        return dict(json.loads(self.run("sh", "-c", f"{folder} -m tests.packages.installed_job")))

    def files(self) -> dict[str, tuple[int, str]]:
        """Return all paths but the package managers' own, with mode and content."""
        mounted = REPOSITORY.relative_to("/")
        return {
            name: found
            for name, found in snapshot(self.root).items()
            if (not name.startswith(_THEIR_OWN) or name.startswith(LOG))
            and not Path(name).is_relative_to(mounted)
            and not mounted.is_relative_to(name)
        }
