# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be out of the way before the plugins go: lines that load them, QPUs that are held."""

import os
from pathlib import Path

from spank_qrmi.admin.installation import interpreter_below
from spank_qrmi.configuration import qrmi_plugstack, qrun_plugstack
from spank_qrmi.configuration.common_plugstack import DEFAULT_STATE_DIRECTORY, STATE_DIRECTORY
from spank_qrmi.configuration.slurm_files import PluginLine, read_plugstacks
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.trust.running_code import INTERPRETER_LINK

_LIBRARIES = (qrmi_plugstack.LIBRARY, qrun_plugstack.LIBRARY)


def obstacles(root: Path) -> list[str]:
    """Return a line for each thing that must be taken out or given back first."""
    lines = [line for line in read_plugstacks(root) if _is_ours(root, line)]
    found = [
        f"{line.place}: loads {line.path}: take that line out first, on all nodes: Slurm's "
        "commands fail or complain without the plugin"
        for line in lines
    ]
    # Another root has no jobs, and who is not root no journal.
    if root == Path("/") and os.geteuid() == 0:
        option = f"{STATE_DIRECTORY.name}="
        words = [word for line in lines for word in line.arguments if word.startswith(option)]
        folders = [DEFAULT_STATE_DIRECTORY, *(word.removeprefix(option) for word in words)]
        for folder in dict.fromkeys(folders):
            found += [
                f"job {each.job_id} holds {each.resource_name}: let the job end, or spank-qrmi "
                f"release --job {each.job_id}"
                if isinstance(each, Entry)
                else str(each)
                for each in Journal(folder).entries()
                if not (isinstance(each, Entry) and (each.is_told or each.is_over))
            ]
    return found


def _is_ours(root: Path, line: PluginLine) -> bool:
    """Tell whether a line loads a plugin of this environment: one without a folder may be."""
    if line.library not in _LIBRARIES or "/" not in line.path:
        return line.library in _LIBRARIES
    link = (root / line.path.lstrip("/")).resolve().with_name(INTERPRETER_LINK)
    if not link.is_symlink():
        return False
    # One of them may go by another link.
    both = (link.readlink(), interpreter_below(root))
    one, other = ((root / str(each).lstrip("/")).parent.resolve() for each in both)
    return one == other
