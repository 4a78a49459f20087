# SPDX-License-Identifier: GPL-3.0-or-later
"""A later version of a Debian package of ours: other names, the same content."""

import re
import subprocess
from pathlib import Path

VERSION = "99.0"


def build_newer_deb(deb: Path, folder: Path) -> Path:
    """Build it in an empty folder; return its path."""
    stage = folder / "stage"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, stage], check=True)
    control = stage / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^Version: [^+]*", f"Version: {VERSION}", control.read_text()))
    (stage / "DEBIAN" / "md5sums").unlink()
    _rename_environment(stage)
    newer = folder / f"newer_{deb.name}"
    # To compress it takes longest.
    command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", stage, newer]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return newer


def _rename_environment(stage: Path) -> None:
    environments = stage / "usr" / "lib" / "spank_qrmi"
    old = (environments / "current").readlink().name
    new = f"{VERSION}-{old.partition('-')[2]}"
    (environments / old).rename(environments / new)
    for path in stage.rglob("*"):
        if path.is_symlink():
            target = str(path.readlink())
            path.unlink()
            path.symlink_to(target.replace(old, new))
    for path in (environments / new / "bin").iterdir():
        if not path.is_symlink():
            path.write_text(path.read_text().replace(old, new))
