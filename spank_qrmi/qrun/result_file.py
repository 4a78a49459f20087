# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the result goes: a file that is replaced only by a whole one, or a stream."""

import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

from spank_qrmi.qrun.outcome import ExitStatus, QrunError

_STANDARD_OUTPUT = 1
_CHUNK_BYTES = 1024 * 1024
_NEW_FILE_MODE = 0o666


class ResultFile:
    """The target of a result; None is standard output.

    A regular file is written beside the old one and takes its place when it is complete; a pipe, a
    device or what is standard output anyway is written to directly.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._unfinished: Path | None = None

    def check(self) -> None:
        """Raise QrunError if the result could not be written there, before anything is run."""
        try:
            if self._is_standard_output():
                os.fstat(_STANDARD_OUTPUT)
            elif self._is_special():
                self._require(os.access(self._name, os.W_OK), "no permission to write to it")
            else:
                target = self._target()
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
            if self._is_standard_output():
                _copy(source, _STANDARD_OUTPUT)
            elif self._is_special():
                descriptor = os.open(self._name, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    _copy(source, descriptor)
                finally:
                    os.close(descriptor)
            else:
                self._replace(source)
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

    def _target(self) -> Path:
        # Replacing the link itself would leave the file behind it as it was.
        return Path(os.path.realpath(self._name))

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

    def _replace(self, source: BinaryIO) -> None:
        target = self._target()
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


def _mode_for(target: Path) -> int:
    """Return the mode of the file that is replaced, or that of a new file."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
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
