# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be out of the way before the plugins go: lines that load them, QPUs that are held."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from spank_qrmi.admin.installation import INTERPRETER_LINK, interpreter_below
from spank_qrmi.configuration.common_plugstack import DEFAULT_STATE_DIRECTORY, STATE_DIRECTORY
from spank_qrmi.state.journal import Entry, Journal

_SLURM_FOLDERS = (
    *("etc/slurm", "etc/slurm-llnl", "usr/local/etc", "usr/local/etc/slurm", "opt/slurm/etc"),
    # Where slurmctld hands out the configuration.
    *("run/slurm/conf", "var/spool/slurmd/conf-cache", "var/spool/slurm/d/conf-cache"),
)
_LINE = re.compile(r"\s*(?:optional|required)\s+((?:\S*/)?spank_(?:qrmi|ibm_qrun)\.so)(?:\s|$)")
_INCLUDE = re.compile(r"\s*include\s+(\S+)")
_PLUGSTACK = re.compile(r"^\s*PlugStackConfig\s*=\s*(\S+)", re.IGNORECASE | re.MULTILINE)
_STATE = re.compile(rf"\s{STATE_DIRECTORY.name}=(\S+)")


def obstacles(root: Path) -> list[str]:
    """Return a line for each thing that must be taken out or given back first."""
    lines = list(_lines_that_load(root))
    found = [
        f"{path}, line {number}, loads {plugin}: take that line out first, on all nodes: Slurm's "
        "commands fail or complain without the plugin"
        for path, number, plugin, _ in lines
    ]
    # Another root has no jobs, and who is not root no journal.
    if root == Path("/") and os.geteuid() == 0:
        folders = [DEFAULT_STATE_DIRECTORY, *(each for *_, text in lines for each in text)]
        for folder in dict.fromkeys(folders):
            found += [
                f"job {each.job_id} holds {each.resource_name}: let the job end, or spank-qrmi "
                f"release --job {each.job_id}"
                if isinstance(each, Entry)
                else str(each)
                for each in Journal(folder).entries()
            ]
    return found


def _lines_that_load(root: Path) -> Iterator[tuple[Path, int, str, list[str]]]:
    """Yield file, number, plugin and `--state-dir` of lines for plugins of this environment."""
    folders = [root / folder for folder in _SLURM_FOLDERS]
    if "SLURM_CONF" in os.environ:
        folders.append(Path(os.environ["SLURM_CONF"]).parent)
    files = [folder / "plugstack.conf" for folder in folders]
    for folder in folders:
        files += [
            _below(root, folder, name) for name in _PLUGSTACK.findall(_text(folder / "slurm.conf"))
        ]
    seen = set()
    for path in files:
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        for number, line in enumerate(_text(path).splitlines(), 1):
            if (loaded := _LINE.match(line)) and _is_ours(root, loaded[1]):
                yield path, number, loaded[1], _STATE.findall(line)
            elif included := _INCLUDE.match(line):
                pattern = _below(root, path.parent, included[1])
                # The list grows while it is walked.
                files += sorted(pattern.parent.glob(pattern.name))


def _is_ours(root: Path, plugin: str) -> bool:
    """Tell whether a plugin is this environment's: one without a folder may be."""
    if "/" not in plugin:
        return True
    link = _below(root, root, plugin).resolve().with_name(INTERPRETER_LINK)
    if not link.is_symlink():
        return False
    # One of them may go by another link.
    both = (link.readlink(), interpreter_below(root))
    one, other = (_below(root, root, str(each)).parent.resolve() for each in both)
    return one == other


def _below(root: Path, folder: Path, name: str) -> Path:
    """Return the place of what a file in `folder` names, in the system below `root`."""
    return root / name.lstrip("/") if name.startswith("/") else folder / name


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
