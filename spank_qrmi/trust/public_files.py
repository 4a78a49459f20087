# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing files that everybody may read, as root, into folders that nobody else can write."""

import contextlib
import os
import time
from pathlib import Path

from spank_qrmi.errors import ConfigError
from spank_qrmi.trust.files import StrPath, open_trusted_folder

_MODE = 0o644
# Not a name that a reader of the folder looks for, nor anybody else's.
_TEMPORARY_PREFIX = ".new-spank-qrmi-"
_YOUNGEST_LEFTOVER_SECONDS = 60
_WRITE_ANEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_public_file(path: StrPath, content: bytes) -> None:
    """Put a file in the place of a former one, whole or not at all; everybody may read it.

    Its folder must be there. Raises ConfigError naming the file, and then the former one is there.
    """
    place = Path(path)
    try:
        with open_trusted_folder(place.parent) as folder:
            _remove_leftovers(folder)
            _replace(folder, place.name, content)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written: {error.strerror}: name a file in a folder of root's"
        ) from error


def _replace(folder: int, name: str, content: bytes) -> None:
    temporary = f"{_TEMPORARY_PREFIX}{os.urandom(8).hex()}"
    descriptor = os.open(temporary, _WRITE_ANEW, _MODE, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # The umask has taken away what it likes.
            os.fchmod(descriptor, _MODE)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
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
