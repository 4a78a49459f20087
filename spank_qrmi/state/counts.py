# SPDX-License-Identifier: GPL-3.0-or-later
"""How many acquisitions and releases came to which end on this node, for its metrics.

Who counts is a worker that ends a moment later. A count is the length of a file, to which each
event adds one byte: that needs no lock, waits for nobody, and loses nothing of what others add at
the same time. Nothing here is an error: an event that cannot be counted is not. A count begins anew
when its file has become long, which Prometheus takes for a restart.
"""

import logging
import os
import stat
from enum import Enum

from spank_qrmi.errors import ConfigError
from spank_qrmi.state import locked_files
from spank_qrmi.trust.files import StrPath, open_trusted_folder

log = logging.getLogger(__name__)

FOLDER_NAME = "counts"

MOST_COUNTED = 1_000_000
"""How many bytes a file has at most."""


class Event(str, Enum):
    """What became of an acquisition, or of what was to be released."""

    ACQUIRED = "acquired"
    REFUSED = "refused"
    RELEASED = "released"
    KEPT = "kept"


def count(state_directory: StrPath, event: Event) -> None:
    """Add one to the count of an event."""
    try:
        with open_trusted_folder(state_directory, FOLDER_NAME, is_made=True) as folder:
            access = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            descriptor = locked_files.open_file(folder, _name_of(event), access)
            try:
                if os.fstat(descriptor).st_size >= MOST_COUNTED:
                    os.ftruncate(descriptor, 0)
                os.write(descriptor, b".")
            finally:
                os.close(descriptor)
    except (OSError, ConfigError) as error:
        log.debug("one more %s is not counted: %s", event.value, error)


def read_counts(state_directory: StrPath) -> dict[Event, int]:
    """Return the count of every event; raise ConfigError if their folder is not to be trusted."""
    counts = dict.fromkeys(Event, 0)
    try:
        with open_trusted_folder(state_directory, FOLDER_NAME) as folder:
            for event in Event:
                counts[event] = _length_of(folder, _name_of(event))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigError(
            f"{state_directory}/{FOLDER_NAME}: cannot be read: {error.strerror}"
        ) from error
    return counts


def _name_of(event: Event) -> str:
    # Nodes may share the folder.
    return f"{event.value}-{os.uname().nodename}"


def _length_of(folder: int, name: str) -> int:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
