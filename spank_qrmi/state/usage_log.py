# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that has one line for each acquisition that is over, and never loses or repeats one.

A line is one write(2) to a file that is opened to append, under its lock (flock(2)), and on disk
before anything relies on it. What a full disk cut short is taken back; what a killed writer left
without an end is ended, so that it spoils no line but its own. Rotation renames the file: each
writer opens it by its name.
"""

import contextlib
import errno
import gzip
import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import UsageLogError
from spank_qrmi.state import locked_files
from spank_qrmi.trust.files import StrPath, can_others_write

DEFAULT_PATH = "/var/log/spank_qrmi/usage.jsonl"

_FOLDER_MODE = 0o750
_FILE_MODE = 0o640
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# To be locked over NFS, and to see whether the last line has its end, it must be readable too.
_FILE = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOCK_SECONDS = 2.0
_COMPRESSED = ".gz"


class UsageLog:
    """The file at one path, and what rotation has made of it."""

    def __init__(self, path: StrPath) -> None:
        self._path = Path(path)

    @property
    def path(self) -> Path:
        """Where the newest lines are."""
        return self._path

    def append(self, line: bytes) -> None:
        """Add a line, which has no end yet; raise UsageLogError, and then it is not there."""
        with self._as_usage_log_errors("cannot be written"), self._open_folder() as folder:
            descriptor = os.open(self._path.name, _FILE, 0o600, dir_fd=folder)
            try:
                self._check(os.fstat(descriptor))
                if not locked_files.wait_for_lock(descriptor, Deadline(_LOCK_SECONDS)):
                    raise UsageLogError(f"{self._path}: cannot be written: another process has it")
                if os.fstat(descriptor).st_size == 0:
                    os.fchmod(descriptor, _FILE_MODE)
                _write_line(descriptor, line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def try_out(self) -> None:
        """Raise UsageLogError if a line could not be added; nothing is made or changed."""
        with self._as_usage_log_errors("cannot be written"):
            if not self._path.parent.exists():
                # It is made with the first line.
                self._path.parent.parent.stat()
                return
            with self._open_folder() as folder:
                if not os.access(".", os.W_OK, dir_fd=folder):
                    raise OSError(errno.EROFS, os.strerror(errno.EROFS))
                with contextlib.suppress(FileNotFoundError):
                    descriptor = os.open(self._path.name, _FILE & ~os.O_CREAT, dir_fd=folder)
                    try:
                        self._check(os.fstat(descriptor))
                    finally:
                        os.close(descriptor)

    def holds(self, text: bytes, since_seconds: float) -> bool:
        """Return whether a line written since then, in Unix seconds, has this text in it.

        Raises UsageLogError.
        """
        with self._as_usage_log_errors("cannot be read"):
            paths = [
                each
                for each in self._path.parent.glob(f"{self._path.name}*")
                if each.stat().st_mtime >= since_seconds
            ]
            return any(_has_line_with(path, text) for path in paths)

    @contextlib.contextmanager
    def _open_folder(self) -> Iterator[int]:
        """Open the folder, made if it is missing, which must be root's and no link.

        Of those above it nothing is asked: the group that writes /var/log on some systems could put
        another folder of root's there, to which a line would be added, and nothing else.
        """
        folder = self._path.parent
        with contextlib.suppress(FileExistsError):
            folder.mkdir(_FOLDER_MODE)
            # Not by a umask, which may be any in a step.
            folder.chmod(_FOLDER_MODE)
        descriptor = os.open(folder, _FOLDER)
        try:
            self._check(os.fstat(descriptor))
            yield descriptor
        finally:
            os.close(descriptor)

    def _check(self, status: os.stat_result) -> None:
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise UsageLogError(f"{self._path}: is no regular file: look at it, then remove it")
        if can_others_write(status):
            raise UsageLogError(
                f"{self._path}: file and folder must belong to root and be writable by root alone: "
                "correct that, or name another file by --usage-file"
            )

    @contextlib.contextmanager
    def _as_usage_log_errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageLogError(f"{self._path}: {doing}: {error.strerror}") from error


def open_lines(path: StrPath) -> IO[bytes]:
    """Open a file of lines, as it is or as rotation has compressed it; raise OSError."""
    name = os.fspath(path)
    if name.endswith(_COMPRESSED):
        return cast("IO[bytes]", gzip.open(name))
    return Path(name).open("rb")


def _write_line(descriptor: int, line: bytes) -> None:
    size = os.fstat(descriptor).st_size
    is_cut_off = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    content = b"\n" * is_cut_off + line + b"\n"
    try:
        written = os.write(descriptor, content)
        if written < len(content):
            # The rest says why.
            written += os.write(descriptor, content[written:])
    except OSError:
        os.ftruncate(descriptor, size)
        raise
    if written < len(content):
        os.ftruncate(descriptor, size)
        raise OSError(0, "only a part of a line was written")


def _has_line_with(path: Path, text: bytes) -> bool:
    if path.suffix == _COMPRESSED:
        with open_lines(path) as lines:
            return any(text in line for line in lines)
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = content.rfind(text)
            # What was cut off is no line.
            return found >= 0 and content.find(b"\n", found) >= 0
