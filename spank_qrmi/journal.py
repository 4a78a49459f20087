# SPDX-License-Identifier: GPL-3.0-or-later
"""What this node holds, on disk: one file per acquisition, written before it can be lost.

An entry is there from before the vendor is asked until the release has succeeded, and has all that
a release needs; it holds credentials, so folder and files are root's alone.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from spank_qrmi.errors import JournalError


@dataclass(frozen=True)
class Entry:
    """One acquisition of one step; `token` is None until the vendor has answered.

    `values` are the resource's variables without the `<name>_` prefix.
    """

    job_id: int
    restart_count: int
    step_id: int
    uid: int
    resource_name: str
    resource_type: str
    values: dict[str, str] = field(repr=False)
    token: str | None = field(default=None, repr=False)

    @property
    def file_name(self) -> str:
        """The name of the entry's file; one resource of one step always has the same."""
        name = hashlib.sha256(self.resource_name.encode("utf-8", "surrogateescape")).hexdigest()
        return f"{_prefix(self.job_id, self.restart_count, self.step_id)}{name[:16]}.json"


def _prefix(job_id: int, restart_count: int, step_id: int) -> str:
    return f"{job_id}-{restart_count}-{step_id:x}-"


class Journal:
    """The entries in one folder."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, entry: Entry) -> None:
        """Put an entry on disk, whole or not at all; raise JournalError if that is impossible."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._replace(entry.file_name, orjson.dumps(asdict(entry)))
        except (OSError, TypeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "a value is not UTF-8"
            message = f"cannot record the acquisition in {self._directory}: {reason}"
            raise JournalError(message) from error

    def _replace(self, name: str, content: bytes) -> None:
        descriptor, temporary = tempfile.mkstemp(prefix=".", dir=self._directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            Path(temporary).replace(self._directory / name)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
        self._sync_directory()

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, entry: Entry) -> None:
        """Take an entry away; raise JournalError if that is impossible, not if it is gone."""
        try:
            (self._directory / entry.file_name).unlink(missing_ok=True)
            self._sync_directory()
        except OSError as error:
            message = f"cannot remove {entry.file_name} from {self._directory}: {error.strerror}"
            raise JournalError(message) from error

    def entries_of_step(
        self, job_id: int, restart_count: int, step_id: int
    ) -> Iterator[Entry | JournalError]:
        """Yield what a step holds, and an error for each entry that cannot be read."""
        pattern = f"{_prefix(job_id, restart_count, step_id)}*.json"
        for path in sorted(self._directory.glob(pattern)):
            try:
                yield _read_entry(path)
            except JournalError as error:
                yield error


def _read_entry(path: Path) -> Entry:
    message = f"{path}: is no entry of this journal: look at it, then remove it"
    try:
        entry = Entry(**orjson.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise JournalError(message) from error
    if not _is_sound(entry) or entry.file_name != path.name:
        raise JournalError(message)
    return entry


def _is_sound(entry: Entry) -> bool:
    numbers = (entry.job_id, entry.restart_count, entry.step_id, entry.uid)
    texts = (entry.resource_name, entry.resource_type, entry.token or "")
    return (
        all(isinstance(number, int) for number in numbers)
        and all(isinstance(text, str) for text in texts)
        and isinstance(entry.values, dict)
        and all(isinstance(value, str) for value in entry.values.values())
    )
