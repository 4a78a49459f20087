# SPDX-License-Identifier: GPL-3.0-or-later
"""Two builds of the same sources are the same bytes, whoever makes them where and when."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from slurm_matrix.sources import copy_sources, sources_of

from loopback.installation import REPOSITORY


def build(folder: Path, seconds: int, umask: int) -> dict[str, str]:
    """Build wheels and source distribution of a copy whose files have this time."""
    copy_sources(REPOSITORY, sources_of(REPOSITORY), folder)
    for path in folder.rglob("*"):
        os.utime(path, (seconds, seconds))
        # Who checks out with another umask has other modes.
        path.chmod(0o777 & ~umask if path.is_dir() or os.access(path, os.X_OK) else 0o666 & ~umask)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    subprocess.run(
        ["make", "sdist", "wheel", "simulator-wheel", f"VENV={sys.prefix}"],
        cwd=folder,
        env=variables | {"SOURCE_DATE_EPOCH": "1700000000"},
        umask=umask,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    built = [*folder.glob("dist/*"), *folder.glob("build/wheel/*.whl")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built}


def test_wheels_and_source_distribution_are_the_same_each_time(tmp_path: Path) -> None:
    one = build(tmp_path / "one", 1_000_000_000, 0o022)
    other = build(tmp_path / "another folder" / "two", 1_500_000_000, 0o077)
    assert one == other
    assert sorted(Path(name).suffix for name in one) == [".gz", ".whl", ".whl"]
