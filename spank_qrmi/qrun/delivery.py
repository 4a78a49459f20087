# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing result and log of a job from the object store to the user."""

import json
import tempfile
from http import HTTPStatus
from io import BytesIO
from typing import BinaryIO

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ObjectStoreError
from spank_qrmi.qrun.object_store import ObjectStore
from spank_qrmi.qrun.outcome import ExitStatus, QrunError
from spank_qrmi.qrun.progress import Progress
from spank_qrmi.qrun.result_file import ResultFile
from spank_qrmi.qrun.submission import pause

LARGEST_PRETTY_BYTES = 32 * 1024 * 1024
"""A larger result is handed over as the service wrote it, without taking memory for it."""

SHOWN_LOG_BYTES = 1024 * 1024

_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)


class MissingResultError(QrunError):
    """The job completed, and yet there is no result."""


def deliver_result(store: ObjectStore, key: str, target: ResultFile, deadline: Deadline) -> None:
    """Write the result to `target`, pretty-printed.

    Raises MissingResultError, QrunError (RESULT) if it is no JSON or cannot be written, and
    StoppedError.
    """
    try:
        with tempfile.TemporaryFile() as raw:
            _fetch(store, key, raw, deadline)
            is_pretty = raw.tell() <= LARGEST_PRETTY_BYTES
            raw.seek(0)
            target.write(BytesIO(_pretty(raw.read())) if is_pretty else raw)
    except OSError as error:
        raise QrunError(
            f"no room for the result in {tempfile.gettempdir()}: {error.strerror}",
            ExitStatus.RESULT,
        ) from error


def show_log(store: ObjectStore, key: str, progress: Progress) -> None:
    """Print the service's log to stderr; one that is missing is no error."""
    try:
        content = store.beginning(key, SHOWN_LOG_BYTES + 1)
    except ObjectStoreError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            progress.note("the service has written no log")
        else:
            progress.error(f"the service's log cannot be shown: {error}")
        return
    progress.service_log(content[:SHOWN_LOG_BYTES].decode(errors="replace"))
    if len(content) > SHOWN_LOG_BYTES:
        progress.note(f"the service's log is longer than {SHOWN_LOG_BYTES // 1024**2} MiB")


def _fetch(store: ObjectStore, key: str, target: BinaryIO, deadline: Deadline) -> None:
    """Write the object to `target`; a store in trouble is asked several times."""
    for seconds in (*_PAUSES_SECONDS, None):
        try:
            target.seek(0)
            target.truncate()
            store.download(key, target)
        except ObjectStoreError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise MissingResultError(
                    "the job completed but the service has written no result", ExitStatus.RESULT
                ) from error
            if seconds is None or not error.is_transient:
                raise QrunError(str(error), ExitStatus.RESULT) from error
            pause(deadline, seconds)
        else:
            return


def _pretty(content: bytes) -> bytes:
    """Return the JSON document with a line for each value; numbers stay as exact as they are."""
    try:
        text = json.dumps(json.loads(content), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError) as error:
        raise QrunError("the result is not JSON", ExitStatus.RESULT) from error
    return f"{text}\n".encode(errors="backslashreplace")
