# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the code that runs here as root is root's alone to change."""

import os
import sys

from spank_qrmi.errors import UntrustedPathError
from spank_qrmi.trust.paths import trouble_at, trouble_with

INTERPRETER_LINK = "spank_qrmi.python"
"""Beside the plugins: its text is the interpreter of their workers."""


def refuse_untrusted_code() -> None:
    """Raise UntrustedPathError if others than root could change what is, or will be, imported.

    Looks at the interpreter, the folders that modules are imported from, and the file and byte code
    of each module that was.
    """
    if os.geteuid() != 0:
        return
    files = [
        file
        for module in list(sys.modules.values())
        for name in ("__file__", "__cached__")
        if isinstance(file := getattr(module, name, None), str) and file.startswith("/")
    ]
    # Byte code has no folder before it is first written, which a read-only place never sees.
    folders = dict.fromkeys(filter(os.path.exists, [*sys.path, *map(os.path.dirname, files)]))
    trouble = trouble_with([sys.executable, *folders])
    for each in (*folders, *files):
        trouble = trouble or trouble_at(each)
    if trouble:
        raise UntrustedPathError(
            f"{trouble}: remove it, and install anew where nobody else may write"
        )
