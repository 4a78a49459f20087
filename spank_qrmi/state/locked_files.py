# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in an open folder of ours: always whole, and whoever works on one holds its lock.

The lock is that of the file (flock(2)), which ends with the process that holds it. A file is
replaced, never written to, so to read one needs no lock.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable

from spank_qrmi.deadline import Deadline

TEMPORARY_PREFIX = ".new-"
"""How the name of a file begins that is not yet whole."""

YOUNGEST_LEFTOVER_SECONDS = 60
"""A file that was just made has its lock a moment later."""

_PAUSE_SECONDS = 0.02


def open_file(directory: int, name: str, access: int = os.O_RDONLY) -> int:
    """Return a file's descriptor; raise OSError, also if it is a symbolic link."""
    # A symbolic link could name any file, and a FIFO would keep us waiting for its writer.
    flags = access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=directory)


def open_to_lock(directory: int, name: str) -> int:
    """Open a file so that NFS too gives its lock, which takes a writer (flock(2), NFS details)."""
    try:
        return open_file(directory, name, os.O_RDWR)
    except OSError as error:
        # What is held can be released from a folder that keeps its entries.
        if error.errno != errno.EROFS:
            raise
    return open_file(directory, name)


def lock_in_place(descriptor: int, directory: int, name: str) -> bool:
    """Take the lock if it is free; return whether the file is then still the one of its name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return is_in_place(descriptor, directory, name)


def wait_for_lock(descriptor: int, deadline: Deadline) -> bool:
    """Take the lock once it is free; return False if it is not within the deadline."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not deadline.wait(_PAUSE_SECONDS):
                return False
        else:
            return True


def is_in_place(descriptor: int, directory: int, name: str) -> bool:
    """Return whether an open file is still the one of its name."""
    try:
        named = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))


def replace_file(directory: int, name: str, content: bytes, *, outlasts_crash: bool = True) -> int:
    """Write a file that is whole and locked before it has its name; return its descriptor.

    `outlasts_crash` puts it on disk before that. Raises OSError, and then the former one is there.
    """
    temporary = f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}"
    descriptor = open_file(directory, temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        if outlasts_crash:
            os.fsync(descriptor)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        if outlasts_crash:
            os.fsync(directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        os.close(descriptor)
        raise
    return descriptor


def remove_leftover(
    directory: int, name: str, use: Callable[[int], bool] = lambda descriptor: True
) -> None:
    """Remove a file that was cut off before it had its name, once its writer is certainly gone.

    `use` is given its descriptor; if it returns False, the file is kept. No failure is told.
    """
    with contextlib.suppress(OSError):
        descriptor = open_to_lock(directory, name)
        try:
            age_seconds = time.time() - os.fstat(descriptor).st_mtime
            if age_seconds < YOUNGEST_LEFTOVER_SECONDS:
                return
            if lock_in_place(descriptor, directory, name) and use(descriptor):
                os.unlink(name, dir_fd=directory)
        finally:
            os.close(descriptor)
