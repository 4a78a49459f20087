# SPDX-License-Identifier: GPL-3.0-or-later
"""What the build says when something that it needs is missing: one line, with what to do."""

import os
import subprocess
import sys
from pathlib import Path


def build(folder: Path, *options: str, **variables: str) -> str:
    """Try to build into a folder; return what was written to stderr."""
    done = subprocess.run(
        [
            *(sys.executable, *options, "setup.py", "--quiet", "build_ext", "--force"),
            *("--build-lib", str(folder), "--build-temp", str(folder)),
        ],
        cwd=Path(__file__).parents[3],
        env=os.environ | variables,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    return done.stderr


def test_what_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    text = build(tmp_path, CC="no-such-compiler")
    assert text == "error: no C compiler works: apt-get install gcc libc6-dev\n"
    text = build(tmp_path, SLURM_INCLUDE_DIRS="/no/such/folder")
    assert text == "error: SLURM_INCLUDE_DIRS: no slurm/spank.h in /no/such/folder\n"
    # Debian's headers of Slurm take the place of SchedMD's packages: no command for it is there to
    # copy.
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\n! grep -q slurm "$2"\n')
    compiler.chmod(0o755)
    text = build(tmp_path, CC=str(compiler))
    assert text.startswith("error: slurm/spank.h is missing: install the headers of the Slurm that")
    assert "SLURM_INCLUDE_DIRS=DIR make" in text
    assert "apt" not in text
    # Without its site-packages the interpreter has no Cython.
    text = build(tmp_path, "-S")
    assert text.startswith("error: the Python module ")
    assert text.endswith("python3 -m pip install 'Cython>=3.1' 'setuptools>=77'\n")
    assert text.count("\n") == 1
