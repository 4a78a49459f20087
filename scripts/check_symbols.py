# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that plugins are free of Python and export nothing but what Slurm looks for."""

import re
import subprocess
import sys

EXPORTS = re.compile(r"plugin_(name|type|version)|spank_plugin_version|slurm_spank_\w+")
REQUIRED = {"plugin_name", "plugin_type", "plugin_version", "slurm_spank_init"}


def symbols(library: str, which: str) -> set[str]:
    """Return the names that `nm -D` lists, without their versions."""
    listing = subprocess.run(
        ["nm", "-D", "-P", which, library], check=True, capture_output=True, text=True
    ).stdout
    return {line.split()[0].partition("@")[0] for line in listing.splitlines()}


def problems(library: str) -> list[str]:
    """Return one line for each rule that the library breaks."""
    exported = symbols(library, "--defined-only")
    python = {name for name in symbols(library, "--undefined-only") if re.match("_?Py", name)}
    foreign = {name for name in exported if not EXPORTS.fullmatch(name)}
    missing = REQUIRED - exported
    found = {"needs Python:": python, "exports:": foreign, "does not export:": missing}
    return [f"{library} {text} {' '.join(sorted(names))}" for text, names in found.items() if names]


if __name__ == "__main__":
    found = [line for library in sys.argv[1:] for line in problems(library)]
    sys.exit("\n".join(found) or None)
