# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi qpus`: the published catalog, for any user of any node that has it.

It asks nobody, so it imports nothing that could.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from spank_qrmi.catalog.documents import document_of
from spank_qrmi.catalog.entries import Catalog
from spank_qrmi.catalog.files import read_catalog
from spank_qrmi.catalog.nearest import nearest_name
from spank_qrmi.catalog.table import Reader, old_text, table_of
from spank_qrmi.configuration.qrmi_plugstack import find_catalog
from spank_qrmi.errors import ConfigError, QrmiError
from spank_qrmi.redaction import printable

_WATCH_SECONDS = 5
_CLEAR = "\x1b[H\x1b[2J"
_NO_CATALOG = 2


def run(options: argparse.Namespace) -> int:
    """Print the catalog, with `--watch` again and again.

    Return 0 if all named QPUs are online, or, without names, if there is a catalog that can be
    read; 1 if one of them is not, or nobody knows; 2 without a catalog.
    """
    try:
        status = _show(options)
        while options.watch:
            sys.stdout.flush()
            time.sleep(_WATCH_SECONDS)
            sys.stdout.write(_CLEAR if sys.stdout.isatty() else "\n")
            status = _show(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # Whoever reads has seen enough; what is left goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _show(options: argparse.Namespace) -> int:
    try:
        catalog = read_catalog(options.catalog or _folder_of_node())
    except QrmiError as error:
        _warn(str(error))
        return _NO_CATALOG
    now = int(time.time())
    shown = _named(catalog, options.names)
    if options.json:
        sys.stdout.write(document_of(shown).decode())
        old = old_text(catalog, now)
        if old:
            _warn(old)
    else:
        reader = Reader(os.getuid(), {os.getegid(), *os.getgroups()}, now)
        for line in table_of(shown, reader, has_colours=_has_colours()):
            sys.stdout.write(f"{line}\n")
    if not options.names:
        return 0
    are_online = all(entry.status.is_online for entry in shown.entries)
    is_sure = now <= catalog.valid_until and _tell_unknown(catalog, options.names)
    return int(not (are_online and is_sure))


def _folder_of_node() -> Path:
    folder = find_catalog()
    if folder is None:
        raise ConfigError(
            "no catalog: the line of spank_qrmi.so in plugstack.conf has no --catalog=DIR; name a "
            "folder or file by --catalog"
        )
    return Path(folder)


def _named(catalog: Catalog, names: Sequence[str]) -> Catalog:
    if not names:
        return catalog
    entries = tuple(entry for entry in catalog.entries if entry.name in names)
    return replace(catalog, entries=entries)


def _tell_unknown(catalog: Catalog, names: Sequence[str]) -> bool:
    """Tell which of these names no QPU has; return whether each is one's."""
    known = [entry.name for entry in catalog.entries]
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    for name in unknown:
        nearest = nearest_name(name, known)
        _warn(f"no QPU is called {name}" + (f": is it {nearest}?" if nearest else ""))
    return not unknown


def _has_colours() -> bool:
    """Return whether colours are wanted: by a terminal, unless NO_COLOR is set to anything."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _warn(line: str) -> None:
    sys.stderr.write(f"spank-qrmi: {printable(line)}\n")
