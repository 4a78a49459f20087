# SPDX-License-Identifier: GPL-3.0-or-later
"""The copy of the sources that a system builds and tests: its own, with what was built there."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

# What a build makes beside the sources.
OWN = (".venv", "build", "*.egg-info")


def sources_of(repository: Path) -> set[Path]:
    """Return what git knows or would add, relative to the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return {Path(name) for name in listed.split("\0") if name and (repository / name).is_file()}


def copy_sources(repository: Path, names: Iterable[Path], target: Path) -> None:
    """Make `target` hold these files and no others, but for what was built there before.

    A file that has not changed keeps its time, so that make builds no more than it must.
    """
    wanted = set(names)
    for path in sorted(target.rglob("*"), reverse=True):
        name = path.relative_to(target)
        if any(Path(name.parts[0]).match(own) for own in OWN):
            continue
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif name not in wanted:
            path.unlink()
    for name in wanted:
        source, copy = repository / name, target / name
        if not copy.exists() or copy.stat().st_mtime_ns != source.stat().st_mtime_ns:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
