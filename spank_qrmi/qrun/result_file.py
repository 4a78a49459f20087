# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the result goes: a file that is replaced only by a whole one, or a stream."""

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

from spank_qrmi.qrun.outcome import ExitStatus, QrunError
from spank_qrmi.trust.files import MOST_LINKS
from spank_qrmi.trust.paths import name_of_user

_STANDARD_OUTPUT = 1
_CHUNK_BYTES = 1024 * 1024
_NEW_FILE_MODE = 0o666
_KINDS = {stat.S_IFLNK: "link", stat.S_IFIFO: "pipe"}


class ResultFile:
    """The target of a result; None is standard output.

    A regular file is written beside the old one and takes its place when it is complete; a pipe, a
    device or what is standard output anyway is written to directly. What another user has put into
    a folder where others may write is refused.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._unfinished: Path | None = None

    def check(self) -> None:
        """Raise QrunError if the result could not be written there, before anything is run."""
        try:
            target = self._target()
            if target is None:
                os.fstat(_STANDARD_OUTPUT)
            elif self._is_special():
                self._require(os.access(self._name, os.W_OK), "no permission to write to it")
            else:
                self._require(not target.is_dir(), "it is a folder")
                self._require(
                    not target.exists() or os.access(target, os.W_OK), "it is write-protected"
                )
                with tempfile.TemporaryFile(dir=target.parent):
                    pass
        except (OSError, ValueError) as error:
            raise self._error(error) from error

    def write(self, source: BinaryIO) -> None:
        """Write all that `source` holds; raise QrunError if that does not succeed."""
        try:
            # Others may have put something there while the job ran.
            target = self._target()
            if target is None:
                _copy(source, _STANDARD_OUTPUT)
            elif self._is_special():
                descriptor = os.open(self._name, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    _copy(source, descriptor)
                finally:
                    os.close(descriptor)
            else:
                self._replace(target, source)
        except (OSError, ValueError) as error:
            raise self._error(error) from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Remove what was written of a result that is not complete."""
        unfinished, self._unfinished = self._unfinished, None
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)

    @property
    def _name(self) -> str:
        return "standard output" if self._path is None else self._path

    def _target(self) -> Path | None:
        """Return the file behind all links, None for standard output.

        Raises OSError for what another user may have planted on the way.
        """
        if self._is_standard_output():
            return None
        return _resolve(Path(self._name))

    def _is_standard_output(self) -> bool:
        if self._path is None:
            return True
        try:
            return os.path.samestat(Path(self._path).stat(), os.fstat(_STANDARD_OUTPUT))
        except OSError:
            return False

    def _is_special(self) -> bool:
        try:
            mode = Path(self._name).stat().st_mode
        except FileNotFoundError:
            return False
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))

    def _replace(self, target: Path, source: BinaryIO) -> None:
        prefix = f".{target.name[:200]}."
        with tempfile.NamedTemporaryFile(prefix=prefix, dir=target.parent, delete=False) as file:
            self._unfinished = Path(file.name)
            _copy(source, file.fileno())
            os.fchmod(file.fileno(), _mode_for(target))
            os.fsync(file.fileno())
        self._unfinished.replace(target)
        self._unfinished = None

    def _require(self, condition: bool, reason: str) -> None:
        if not condition:
            raise OSError(0, reason)

    def _error(self, error: Exception) -> QrunError:
        reason = getattr(error, "strerror", None) or "it is no file's name"
        return QrunError(
            f"the result cannot be written to {self._name}: {reason}", ExitStatus.RESULT
        )


def _resolve(path: Path) -> Path:
    """Return where a path leads; raise OSError for what may be planted on the way."""
    # The kernel's own protection of links does not see that a rename follows one.
    place = Path("/") if path.is_absolute() else Path.cwd()
    parts, link_count = [*reversed(path.parts)], 0
    while parts:
        step = place / parts.pop()
        if step.name == "..":
            place = place.parent
            continue
        try:
            status = step.lstat()
        except FileNotFoundError:
            place = step
            continue
        _refuse_planted(step, status)
        if not stat.S_ISLNK(status.st_mode):
            place = step
            continue
        link_count += 1
        if link_count > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        parts += reversed(step.readlink().parts)
    return place


def _refuse_planted(path: Path, status: os.stat_result) -> None:
    """Raise OSError for what is another user's in a folder where others may write."""
    if stat.S_ISDIR(status.st_mode) or status.st_uid == os.geteuid():
        return
    # Of root's, only a file is of no use: a sticky folder does not let others replace it.
    if status.st_uid == 0 and not stat.S_ISREG(status.st_mode):
        return
    if path.parent.stat().st_mode & (stat.S_ISVTX | stat.S_IWOTH):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "file")
        what = f"{path} is a {kind} of user {name_of_user(status.st_uid)}"
        advice = "name a file in a folder of your own"
        raise OSError(0, f"{what} in a folder where others may write: {advice}")


def _mode_for(target: Path) -> int:
    """Return how the file that is replaced may be read and written, or the mode of a new file."""
    try:
        return target.stat().st_mode & _NEW_FILE_MODE
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return _NEW_FILE_MODE & ~mask


def _copy(source: BinaryIO, descriptor: int) -> None:
    # Without Python's buffers: a thread that waits in one would keep the process from ending.
    while chunk := source.read(_CHUNK_BYTES):
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
