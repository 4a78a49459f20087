# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the plugins' files are ours, of slurmd's release, and root's alone to change."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from spank_qrmi.check.finding import Finding, doubtful, right, wrong
from spank_qrmi.check.node import Node
from spank_qrmi.check.plugin_library import read_library
from spank_qrmi.configuration.slurm_files import PluginLine
from spank_qrmi.errors import QrmiError
from spank_qrmi.trust.paths import trouble_at, trouble_with
from spank_qrmi.trust.running_code import INTERPRETER_LINK, refuse_untrusted_code

_ANEW = "install the package, or make install, anew"


def check_plugins(node: Node) -> Iterator[Finding]:
    """Look whether slurmd loads what each line names, and its worker starts."""
    for line in {each.path: each for each in reversed(node.lines)}.values():
        file = node.plugin_file(line)
        if file is None:
            yield doubtful(
                f"{line.place}: {line.path} is in no folder of plugins that is known here",
                "name it by its whole path",
            )
        elif not file.exists():
            what = "slurmd does not start" if line.is_required else "slurmd goes on without it"
            yield wrong(f"{line.place}: {file} is not there: {what}", "correct the path")
        else:
            yield from _findings_of_file(node, line, file)
            yield from _findings_of_interpreter(node, line, file)


def _findings_of_file(node: Node, line: PluginLine, file: Path) -> Iterator[Finding]:
    library = read_library(file)
    if f"{library.name}.so" != line.library:
        yield wrong(f"{line.place}: {file} is another plugin, {library.name[:40]!r}", _ANEW)
        return
    if node.slurm_release is None:
        yield doubtful(
            f"{file}: is for Slurm {library.slurm_release}; no slurmd tells its own release"
        )
    elif library.slurm_release != node.slurm_release:
        yield wrong(
            f"{file}: is for Slurm {library.slurm_release}, and slurmd is {node.slurm_release}: it "
            "is not loaded",
            f"install the plugins that were built for Slurm {node.slurm_release}",
        )
    else:
        yield right(f"{file}: is for Slurm {library.slurm_release}, as slurmd is")
    trouble = trouble_with([file]) or trouble_at(str(file))
    if trouble:
        yield wrong(trouble, "remove it, and install anew where nobody else may write")


def _findings_of_interpreter(node: Node, line: PluginLine, file: Path) -> Iterator[Finding]:
    link = file.resolve().with_name(INTERPRETER_LINK)
    interpreter = node.interpreter(line)
    if interpreter is None:
        yield wrong(f"{link}: is no link to the interpreter of workers: no job gets a QPU", _ANEW)
        return
    if not os.access(interpreter, os.X_OK):
        yield wrong(
            f"{link}: leads to {interpreter}, which cannot be run: no job gets a QPU", _ANEW
        )
        return
    trouble = trouble_with([interpreter])
    if trouble:
        yield wrong(trouble, "remove it, and install anew where nobody else may write")
    elif interpreter.parent.resolve() != Path(sys.executable).parent.resolve():
        yield doubtful(
            f"{link}: workers run in {interpreter.parent.parent}, and this command in {sys.prefix}",
            f"{interpreter.with_name('spank-qrmi')} check",
        )
    else:
        try:
            refuse_untrusted_code()
            yield right(f"{interpreter}: nobody but root can change the code of workers")
        except QrmiError as error:
            yield wrong(str(error))
