# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a catalog in their folder: root writes them, everybody reads them."""

import contextlib
import os
import time
from pathlib import Path

from spank_qrmi.catalog.documents import catalog_of, document_of
from spank_qrmi.catalog.entries import Catalog
from spank_qrmi.catalog.lines import lines_of
from spank_qrmi.errors import ConfigError
from spank_qrmi.trust.files import StrPath, open_trusted_folder, read_trusted_file

DOCUMENT_NAME = "qpus.json"
LINES_NAME = "qpus.txt"

_MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
_TEMPORARY_PREFIX = ".new-qpus-"
_YOUNGEST_LEFTOVER_SECONDS = 60
_MODE = 0o644


def publish(catalog: Catalog, directory: StrPath) -> None:
    """Write both files of a catalog into a folder that there is, each whole or not at all.

    Everybody may read them. Raises ConfigError naming the folder: it is not to be trusted, or
    cannot be written; the former files are there then.
    """
    contents = {DOCUMENT_NAME: document_of(catalog), LINES_NAME: lines_of(catalog)}
    try:
        with open_trusted_folder(directory) as folder:
            _remove_leftovers(folder)
            for name, content in contents.items():
                _replace(folder, name, content)
            os.fsync(folder)
    except OSError as error:
        raise ConfigError(
            f"{directory}: the catalog cannot be written there: {error.strerror}"
        ) from error


def read_catalog(path: StrPath) -> Catalog:
    """Return the catalog at `path`, a file or the folder of one.

    Raises ConfigError if it cannot be read, is no such file, or others than root and we ourselves
    could have written it.
    """
    place = Path(path).absolute()
    try:
        place = place / DOCUMENT_NAME if place.is_dir() else place
    except OSError as error:
        raise ConfigError(f"{place}: cannot be read: {error.strerror}") from error
    file = read_trusted_file(place, _MAX_DOCUMENT_BYTES, may_be_link=True)
    return catalog_of(file.content, str(place))


def _replace(folder: int, name: str, content: bytes) -> None:
    temporary = f"{_TEMPORARY_PREFIX}{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, _MODE, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # The umask has taken away what it likes.
            os.fchmod(descriptor, _MODE)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def _remove_leftovers(folder: int) -> None:
    """Remove what a writer left that was killed."""
    oldest = time.time() - _YOUNGEST_LEFTOVER_SECONDS
    for name in os.listdir(folder):
        if name.startswith(_TEMPORARY_PREFIX):
            with contextlib.suppress(FileNotFoundError):
                if os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime < oldest:
                    os.unlink(name, dir_fd=folder)
