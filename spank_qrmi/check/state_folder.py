# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the node's record can be written, and holds what nobody will release."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from spank_qrmi.check.finding import Finding, Verdict, doubtful, right, wrong
from spank_qrmi.check.node import Node
from spank_qrmi.clients import CLIENTS
from spank_qrmi.errors import UsageLogError
from spank_qrmi.job.accounts import accounting_of
from spank_qrmi.state.accounting import EndedBy
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.state.orphans import is_being_acquired
from spank_qrmi.state.owner import is_elsewhere, is_unknowable
from spank_qrmi.state.quota import MOST_OF_NODE
from spank_qrmi.trust.files import open_trusted_folder
from spank_qrmi.trust.privileges import MIB

_LEAST_BYTES = 16 * MIB
_TRIED_BYTES = 64 * 1024
_MANY_FAILURES = 3

# Of filesystems that have no files without a name.
_NOT_TO_BE_TRIED = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}


def check_state_folder(node: Node) -> Iterator[Finding]:
    """Look whether workers can write an entry down before they ask for a session."""
    folder = Path(node.arguments.state_directory)
    try:
        with open_trusted_folder(folder) as directory:
            yield from _findings_of_folder(folder, directory)
    except FileNotFoundError:
        parent = next(each for each in folder.parents if each.exists())
        with open_trusted_folder(parent) as directory:
            findings = list(_findings_of_folder(parent, directory))
            yield from findings
        if all(each.verdict is Verdict.RIGHT for each in findings):
            yield right(f"{folder}: is made by the first job")
    except OSError as error:
        yield wrong(f"{folder}: {error.strerror}", f"mkdir -m 700 {folder}")


def _findings_of_folder(folder: Path, directory: int) -> Iterator[Finding]:
    try:
        _try_to_write(directory)
    except OSError as error:
        yield wrong(
            f"{folder}: cannot be written to ({error.strerror}): no job gets a session",
            "make room or have it mounted rw, or name another folder by --state-dir",
        )
        return
    room = os.fstatvfs(directory)
    free_bytes = room.f_bfree * room.f_frsize
    if free_bytes < _LEAST_BYTES or (room.f_files and room.f_ffree < _TRIED_BYTES // 1024):
        yield doubtful(
            f"{folder}: has room for {free_bytes // 1024} KiB in {room.f_ffree} files",
            "make room, or name another folder by --state-dir",
        )
        return
    yield right(f"{folder}: can be written to, and has room")


def _try_to_write(directory: int) -> None:
    """Write as much as an entry may need into a file without a name; raise OSError."""
    try:
        file = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno in _NOT_TO_BE_TRIED:
            if os.fstatvfs(directory).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS)) from error
            return
        raise
    try:
        left = bytes(_TRIED_BYTES)
        while left:
            left = left[os.write(file, left) :]
    finally:
        os.close(file)


def check_usage_log(node: Node) -> Iterator[Finding]:
    """Look whether records of what jobs have used can be written."""
    log = accounting_of(node.arguments, EndedBy.EXIT).usage_log
    if log is None:
        yield right("no file is written: --usage")
        return
    try:
        log.try_out()
    except UsageLogError as error:
        yield doubtful(f"{error}; until then records wait in {node.arguments.state_directory}")
    else:
        yield right(f"{log.path}: records can be written")


def check_journal(node: Node) -> Iterator[Finding]:
    """Look whether somebody will release all that is held."""
    count = over = 0
    told = False
    for found in Journal(node.arguments.state_directory).entries():
        if isinstance(found, Entry) and found.is_over:
            over += 1
            continue
        count += 1
        finding = _finding_of(found) if isinstance(found, Entry) else wrong(str(found))
        if finding is not None:
            told = True
            yield finding
    if over:
        yield doubtful(
            f"{over} records of what jobs have used wait to be written",
            "slurmd's log says why: look there for `is recorded later`",
        )
    if count > MOST_OF_NODE:
        yield wrong(f"more than {MOST_OF_NODE} entries: no job gets a session", "spank-qrmi status")
    elif not told:
        yield right(f"{count} entries are held, and somebody will release them")


def _finding_of(entry: Entry) -> Finding | None:
    """Return what is in the way of an entry's release, if anything is."""
    what = f"{entry.resource_name} of job {entry.job_id}"
    if entry.resource_type not in CLIENTS:
        return wrong(
            f"{what}: no release of its type is known here: {entry.resource_type[:40]}",
            "install the release of spank-qrmi again that acquired it",
        )
    if is_being_acquired(entry):
        return None
    if entry.token is None and entry.failure:
        return doubtful(f"{what}: was never answered: {entry.may_be_open_text}")
    return _finding_of_owner(what, entry)


def _finding_of_owner(what: str, entry: Entry) -> Finding | None:
    """Return why nobody takes an entry for an orphan's, or why that did not help."""
    remedy = f"spank-qrmi release --job {entry.job_id}"
    if entry.owner is None:
        return wrong(f"{what}: does not say which step holds it, so nobody releases it", remedy)
    if is_elsewhere(entry.owner):
        return wrong(
            f"{what}: was acquired by node {entry.owner.host[:64]}, which alone releases it",
            f"if no node has that name any more: {remedy}",
        )
    if is_unknowable(entry.owner):
        return doubtful(
            f"{what}: its step lived in another container: nobody sees here whether it has ended",
            f"once it has: {remedy}",
        )
    if entry.failures >= _MANY_FAILURES:
        text = f"{what}: its release has failed {entry.failures} times: {entry.failure}"
        return doubtful(text, remedy)
    return None
