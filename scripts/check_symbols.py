# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that plugins and their job libraries are free of Python and export what is looked for.

A plugin must also need nothing but Slurm and a few functions that bind to no version of the C
library: every job of the node loads it.
"""

import re
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """The names that a library may export, those that it must, and those that it may need."""

    exports: str
    required: frozenset[str]
    needs: str = ".*"


PLUGIN = Rule(
    r"plugin_(name|type|version)|spank_plugin_version|slurm_spank_\w+",
    frozenset({"plugin_name", "plugin_type", "plugin_version", "slurm_spank_init"}),
    # __stack_chk_fail ends a process whose stack was overwritten; Arm compares with the guard.
    r"(slurm|spank)_\w+|dl(close|error|open|sym)|get[pu]id|_exit|__stack_chk_(fail|guard)"
    r"|(close|open|read)dir(64)?|__errno_location|strerror",
)
JOB_LIBRARY = Rule(r"job_library_\w+", frozenset({"job_library_build"}))


def symbols(library: str, which: str) -> set[str]:
    """Return the names that `nm -D` lists, without their versions."""
    listing = subprocess.run(
        ["nm", "-D", "-P", which, library], check=True, capture_output=True, text=True
    ).stdout
    return {line.split()[0].partition("@")[0] for line in listing.splitlines()}


def problems(library: str) -> list[str]:
    """Return one line for each rule that the library breaks."""
    rule = JOB_LIBRARY if library.endswith("_job.so") else PLUGIN
    exported = symbols(library, "--defined-only")
    needed = symbols(library, "--undefined-only")
    python = {name for name in needed if re.match("_?Py", name)}
    found = {
        "needs Python:": python,
        "needs:": {name for name in needed - python if not re.fullmatch(rule.needs, name)},
        "exports:": {name for name in exported if not re.fullmatch(rule.exports, name)},
        "does not export:": rule.required - exported,
    }
    return [f"{library} {text} {' '.join(sorted(names))}" for text, names in found.items() if names]


if __name__ == "__main__":
    found = [line for library in sys.argv[1:] for line in problems(library)]
    sys.exit("\n".join(found) or None)
