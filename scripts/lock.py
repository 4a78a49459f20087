# SPDX-License-Identifier: GPL-3.0-or-later
"""`make lock`: the newest versions of what is installed, with the hashes of all their files.

Each lock file serves all Pythons and machines below: what only some of them need has a marker.
"""

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path("requirements")
# What of pyproject.toml each lock file is made of.
LOCKS = {
    "node": ("pyproject.toml", "--extra", "metrics", "--extra", "qrun"),
    "build": ("--group", "build"),
    "supply-chain": ("--group", "supply-chain"),
}
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
# The oldest glibc of a system that carries one of these Pythons.
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
HEADER = "# SPDX-License-Identifier: GPL-3.0-or-later\n# Made by `make lock`.\n"


def main() -> None:
    """Write all lock files with the uv that the command line names."""
    [uv] = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        for name, source in LOCKS.items():
            made = Path(scratch, f"{name}.txt")
            compile_lock(uv, source, made)
            for python, platform in itertools.product(PYTHONS, PLATFORMS):
                check_wheels(uv, made, python, platform)
            target = FOLDER / made.name
            target.write_text(HEADER + made.read_text())
            print(target)


def compile_lock(uv: str, source: tuple[str, ...], target: Path) -> None:
    """Resolve for every Python and machine at once; name no place where files come from."""
    run(
        *(uv, "pip", "compile", *source, "--quiet", "--output-file", target),
        *("--universal", "--python", sys.executable, "--python-version", PYTHONS[0]),
        *("--generate-hashes", "--no-emit-index-url", "--no-header"),
    )


def check_wheels(uv: str, lock: Path, python: str, platform: str) -> None:
    """End if something has no wheel for a Python and a platform: nodes compile nothing."""
    run(
        *(uv, "pip", "install", "--quiet", "--dry-run", "--requirements", lock),
        *("--require-hashes", "--only-binary", ":all:", "--target", lock.with_suffix(".target")),
        *("--python", sys.executable, "--python-version", python, "--python-platform", platform),
    )


def run(*command: object) -> None:
    """Run a command; end with its exit status if it fails."""
    ended = subprocess.run([str(word) for word in command], check=False)
    if ended.returncode != 0:
        sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
