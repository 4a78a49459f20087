# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that plugins are free of Python and export what Slurm looks for, and nothing else."""

import re
import subprocess
import sys

MAY_EXPORT = r"plugin_(name|type|version)|spank_plugin_version|slurm_spank_\w+"
MUST_EXPORT = {"plugin_name", "plugin_type", "plugin_version", "slurm_spank_init"}


def symbols(library: str, which: str) -> set[str]:
    """Return the names that `nm -D` lists, without their versions."""
    listing = subprocess.run(
        ["nm", "-D", "-P", which, library], check=True, capture_output=True, text=True
    ).stdout
    return {line.split()[0].partition("@")[0] for line in listing.splitlines()}


def problems(library: str) -> list[str]:
    """Return one line for each rule that the library breaks."""
    exported = symbols(library, "--defined-only")
    needed = symbols(library, "--undefined-only")
    found = {
        "needs Python:": {name for name in needed if re.match("_?Py", name)},
        "exports:": {name for name in exported if not re.fullmatch(MAY_EXPORT, name)},
        "does not export:": MUST_EXPORT - exported,
    }
    return [f"{library} {text} {' '.join(sorted(names))}" for text, names in found.items() if names]


if __name__ == "__main__":
    found = [line for library in sys.argv[1:] for line in problems(library)]
    sys.exit("\n".join(found) or None)
