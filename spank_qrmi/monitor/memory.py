# SPDX-License-Identifier: GPL-3.0-or-later
"""What the monitor keeps on disk between rounds and runs, and that only one works on it.

It is below the node's state directory, root's alone, without any secret. If it is lost, the next
round is like the first one.
"""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import PurePath

import orjson

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import MonitorError
from spank_qrmi.monitor.observations import status_from
from spank_qrmi.monitor.watched import WatchedQpu
from spank_qrmi.state import locked_files
from spank_qrmi.trust.files import StrPath, open_trusted_folder

log = logging.getLogger(__name__)

FOLDER_NAME = "monitor"

_LOCK = "lock"
_QPUS = "qpus.json"
_MOST_BYTES = 64 * 1024 * 1024
# One that was just killed may have left a process that is about to end.
_PATIENCE_SECONDS = 3.0


class Memory:
    """The opened folder of one monitor."""

    def __init__(self, directory: int, path: PurePath) -> None:
        self._directory = directory
        self._path = path

    def load(self) -> dict[str, WatchedQpu]:
        """Return what was saved last, nothing if that cannot be read."""
        try:
            descriptor = locked_files.open_file(self._directory, _QPUS)
            with os.fdopen(descriptor, "rb") as file:
                content = file.read(_MOST_BYTES)
            return {str(each["name"]): _qpu_from(each) for each in orjson.loads(content)}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning(
                "%s: cannot be read, nothing is known of earlier rounds: %s",
                *(self._path / _QPUS, type(error).__name__),
            )
            return {}

    def save(self, qpus: Mapping[str, WatchedQpu]) -> None:
        """Keep what is known; log why that cannot be."""
        content = orjson.dumps(list(qpus.values()))
        try:
            os.close(locked_files.replace_file(self._directory, _QPUS, content))
        except OSError as error:
            log.error("%s: cannot be written: %s", self._path / _QPUS, error.strerror)


@contextlib.contextmanager
def locked_memory(state_directory: StrPath) -> Iterator[Memory]:
    """Open the folder and keep every other monitor of this node out.

    Raises MonitorError if there is another one, or the folder cannot be used, ConfigError if it is
    not root's alone.
    """
    path = PurePath(state_directory, FOLDER_NAME)
    with contextlib.ExitStack() as opened:
        try:
            directory = opened.enter_context(
                open_trusted_folder(state_directory, FOLDER_NAME, is_made=True)
            )
            lock = locked_files.open_file(directory, _LOCK, os.O_RDWR | os.O_CREAT)
            opened.callback(os.close, lock)
            _lock(lock, path)
            for name in os.listdir(directory):  # noqa: PTH208 (an open folder)
                if name.startswith(locked_files.TEMPORARY_PREFIX):
                    locked_files.remove_leftover(directory, name)
        except OSError as error:
            raise MonitorError(f"{path}: cannot be used: {error.strerror}") from error
        yield Memory(directory, path)


def _lock(descriptor: int, path: PurePath) -> None:
    if not locked_files.wait_for_lock(descriptor, Deadline(_PATIENCE_SECONDS)):
        raise MonitorError(
            f"{path}: another monitor works with it: stop that one first (systemctl stop "
            "spank-qrmi-monitor); nothing was changed"
        )


def _qpu_from(document: Mapping[str, object]) -> WatchedQpu:
    values = dict(document)
    for key in ("types", "uids", "gids"):
        value = values[key]
        values[key] = tuple(value) if isinstance(value, list) else None
    for key in ("status", "known"):
        value = values[key]
        values[key] = status_from(value) if isinstance(value, dict) else None
    return WatchedQpu(**values)  # type: ignore[arg-type]
