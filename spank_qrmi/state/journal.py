# SPDX-License-Identifier: GPL-3.0-or-later
"""What this node holds, on disk: one file per acquisition, written before it can be lost.

An entry is there from before the vendor is asked until the release has succeeded, and has all that
a release needs; it holds credentials, so folder and files are root's alone. Whoever works on an
entry holds the lock of its file, see `locked_files`; to read one needs none.
"""

import contextlib
import errno
import logging
import math
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from spank_qrmi.clients import values_for_release
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ConfigError, JournalError
from spank_qrmi.redaction import Redactor, is_secret_name
from spank_qrmi.state import locked_files
from spank_qrmi.state.owner import Owner
from spank_qrmi.trust.files import StrPath, can_others_write, open_trusted_folder

log = logging.getLogger(__name__)

TOLD_PREFIX = "told-"
"""How the name of a file begins whose entry is told to end."""

OVER_PREFIX = "over-"
"""How the name of a file begins whose entry is over, and only its record not yet written."""

_PREFIXES = f"{TOLD_PREFIX}|{OVER_PREFIX}"
_ENTRY_NAME = re.compile(rf"(?:{_PREFIXES})?[0-9]+-[0-9]+-[0-9a-f]+-[0-9a-f]{{16}}\.json")

_LARGEST_NEW_BYTES = 16 * 1024
# With its token and the reason of a failure.
_LARGEST_OF_OURS_BYTES = 2 * _LARGEST_NEW_BYTES
# Earlier releases wrote so large ones.
_LARGEST_READ_BYTES = 1024 * 1024
_LONGEST_FAILURE = 1000

_NAMESPACE = uuid5(NAMESPACE_URL, "https://slurm.schedmd.com/spank.html#spank_qrmi")
_USERS_SECONDS = 30 * 86400
_NODE_VARIABLES_KEY = "environment"
# The end of the year 9999; later times cannot be shown.
_LATEST_SECONDS = 253_402_300_799
# One more failure is counted, and a number of more than 64 bits would be read as a fraction.
_LARGEST_NUMBER = 2**63 - 1

_LOCK_CHECK_SECONDS = 0.05


@dataclass(frozen=True)
class Entry:
    """One acquisition of one step; `token` is None until the vendor has answered.

    `values` are those of the resource's variables that a release needs, without the `<name>_`
    prefix, `secret_keys` those of them that are secret whatever their name. `has_users_endpoint`
    says that the user chose where one of them leads to, not the site; `has_sites_login` that he
    chose neither that nor credentials, so that the node's token is for it. `node_variables` are the
    node's: what it sets for requests (proxies, certificates); on disk they are called
    "environment", as earlier releases read them. `hold` says in words what the service holds, and
    `ends_at` when that has ended by itself at the latest, None if it may never. `failure` is why
    the last release failed, or what the user was told of a request to acquire without an answer.
    `is_told` if the service has agreed to end what it holds, and is to be asked whether it did:
    then the entry is no longer among those of its job, which the name of its file says. With
    `is_given_back` it did, and is to be asked for what was used alone.

    The rest is for the record that stays (`accounting`): `facts` that Slurm has told of the job,
    `granted_at` when the token came, `finished_at` when it was first given back, `refusal` why it
    was undone before the job could use it, and once all is over the `record` itself, with
    `is_filed` if only the job has still to be told. With `is_over`, which the name of its file
    says, it is among those of no job. With `holds_nothing` the service knows of none, and the entry
    is there for its record alone.

    Times are Unix seconds;
    None in an entry of an earlier version, which had neither times nor owner, and took every
    endpoint for the site's.
    """

    job_id: int
    restart_count: int
    step_id: int
    uid: int
    resource_name: str
    resource_type: str
    values: dict[str, str] = field(repr=False)
    token: str | None = field(default=None, repr=False)
    acquired_at: int | None = None
    owner: Owner | None = None
    node_variables: dict[str, str] = field(default_factory=dict, repr=False)
    hold: str = "something"
    ends_at: int | None = None
    failure: str = ""
    failed_at: int | None = None
    failures: int = 0
    secret_keys: list[str] = field(default_factory=list)
    has_users_endpoint: bool = False
    has_sites_login: bool = False
    is_told: bool = False
    is_given_back: bool = False
    facts: dict[str, str] = field(default_factory=dict)
    granted_at: int | None = None
    finished_at: int | None = None
    refusal: str = ""
    holds_nothing: bool = False
    record: str = ""
    is_filed: bool = False
    is_over: bool = False

    @property
    def file_name(self) -> str:
        """The name of the entry's file: the same as long as it is held, and no other's.

        A controller that has lost its state gives the same job ids again.
        """
        identity = self.resource_name
        if self.acquired_at is not None:
            identity += f" {self.acquired_at} {self.owner.pid if self.owner else 0}"
        digest = sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()
        prefix = _step_prefix(self.job_id, self.restart_count, self.step_id)
        state = OVER_PREFIX if self.is_over else TOLD_PREFIX if self.is_told else ""
        return f"{state}{prefix}{digest[:16]}.json"

    @property
    def acquisition_id(self) -> str:
        """What names the acquisition, and no other one of any node."""
        owner = self.owner
        node = "" if owner is None else f"{owner.host}/{owner.boot_id}/{owner.started_ticks}"
        name = replace(self, is_told=False, is_over=False).file_name
        return str(uuid5(_NAMESPACE, f"{node}/{name}"))

    @property
    def needs_release(self) -> bool:
        """Whether there is more to do than to wait for the end of what may be open."""
        return not self.is_over and (self.token is not None or not self.failure)

    @property
    def may_be_open_text(self) -> str:
        """What a request to acquire without an answer may have left, and until when."""
        if self.ends_at is None:
            return f"{self.hold} may be open at the service"
        return f"{self.hold} may be open until {utc_text(self.ends_at)} at the latest"

    def has_ended(self, now: float) -> bool:
        """Return whether even what was never answered has ended by itself."""
        return self.token is None and self.ends_at is not None and now >= self.ends_at

    @property
    def is_held(self) -> bool:
        """Whether the service holds something for it, or may."""
        return not (self.holds_nothing or self.is_over or self.record)

    def is_given_up(self, now: float) -> bool:
        """Return whether nobody looks any longer after what is at an endpoint of a user's own.

        That is once it has ended by itself. Of what failed, he may have said any time for that.
        """
        has_ended = self.ends_at is not None and now >= self.ends_at
        is_old = bool(self.failure) and now >= (self.acquired_at or 0) + _USERS_SECONDS
        return self.has_users_endpoint and (has_ended or is_old)

    def with_failure(self, text: str, now: float) -> "Entry":
        """Return the entry with one failure more, whose reason is cleared of its secrets."""
        return replace(
            self,
            failure=self.clear(text)[:_LONGEST_FAILURE],
            failed_at=int(now),
            failures=self.failures + 1,
        )

    def secrets(self) -> list[str]:
        """Return every text of the entry that no log may show."""
        variables = [*self.values.items(), *self.node_variables.items()]
        shown_nowhere = [value for name, value in variables if is_secret_name(name)]
        shown_nowhere += [self.values[key] for key in self.secret_keys if key in self.values]
        return shown_nowhere if self.token is None else [*shown_nowhere, self.token]

    def clear(self, text: str) -> str:
        """Return the text as one printable line without the entry's secrets."""
        redactor = Redactor()
        redactor.add(self.secrets())
        return redactor.clear(text)


def utc_text(unix_seconds: int) -> str:
    """Return a time for people, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_seconds))


def _step_prefix(job_id: int, restart_count: int, step_id: int) -> str:
    return f"{job_id}-{restart_count}-{step_id:x}-"


def _is_entry(name: str) -> bool:
    return _ENTRY_NAME.fullmatch(name) is not None


def _written_at(file: os.DirEntry[str]) -> float:
    return file.stat(follow_symlinks=False).st_mtime


class LockedEntry:
    """An entry that nobody else works on until it is closed."""

    def __init__(self, journal: "Journal", entry: Entry, descriptor: int) -> None:
        self.entry = entry
        self._journal = journal
        self._descriptor = descriptor

    def __enter__(self) -> "LockedEntry":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def write(self, entry: Entry) -> None:
        """Put the entry's next state on disk, whole or not at all; raise JournalError if not."""
        replaced = self._descriptor
        self._descriptor = self._journal.put(entry)
        os.close(replaced)
        self.entry = entry

    def written_at(self) -> float:
        """Return when the entry was last written, or kept for its record, in Unix seconds."""
        return os.fstat(self._descriptor).st_mtime

    def remove(self) -> None:
        """Take the entry away; raise JournalError if that is impossible, not if it is gone."""
        self._journal.take_away(self.entry)

    def end(self, *, is_gone: bool) -> None:
        """Take the entry away if it `is_gone`, else keep it as told; raise JournalError.

        What is at a user's endpoint is his to look after.
        """
        if is_gone or self.entry.has_users_endpoint:
            self.remove()
        else:
            self.entry = self._journal.rename(self.entry, replace(self.entry, is_told=True))

    def keep_for_record(self) -> None:
        """Keep an entry that is over until its record is written; raise JournalError.

        That needs no room on the disk. When one without a record was over, the time of its file
        says.
        """
        if not self.entry.is_over:
            if not self.entry.record:
                with contextlib.suppress(OSError):
                    os.utime(self._descriptor)
            over = replace(self.entry, is_over=True, is_told=False)
            self.entry = self._journal.rename(self.entry, over)


class Journal:
    """The entries in one folder."""

    def __init__(self, directory: StrPath) -> None:
        self._directory = Path(directory)

    @property
    def directory(self) -> Path:
        """The folder, which is the node's state directory."""
        return self._directory

    def begin(self, entry: Entry, *, outlasts_crash: bool = True) -> LockedEntry:
        """Put a new entry on disk, locked; raise JournalError if that is impossible.

        One that holds nothing need not outlast a crash of the node: then it costs less.
        """
        with self._as_journal_errors("cannot record the acquisition in"):
            if len(_content_of(entry)) > _LARGEST_NEW_BYTES:
                raise JournalError(
                    f"cannot record the acquisition in {self._directory}: the variables that a "
                    f"release of {entry.resource_name} needs are larger than 16 KiB: export "
                    "shorter ones"
                )
        try:
            descriptor = self.put(entry, outlasts_crash=outlasts_crash)
            return LockedEntry(self, entry, descriptor)
        except JournalError:
            # Renamed but perhaps not yet safe on disk: nothing was acquired for it.
            with contextlib.suppress(JournalError):
                self.take_away(entry)
            raise

    def put(self, entry: Entry, *, outlasts_crash: bool = True) -> int:
        """Write an entry in place of its former state; return its descriptor, which is locked.

        Raises JournalError, and then the former state is still there.
        """
        with self._as_journal_errors("cannot record the acquisition in"):
            content = _content_of(entry)
            with open_trusted_folder(self._directory, is_made=True) as directory:
                return locked_files.replace_file(
                    directory, entry.file_name, content, outlasts_crash=outlasts_crash
                )

    def take_away(self, entry: Entry) -> None:
        """Remove an entry's file; raise JournalError if that is impossible, not if it is gone."""
        with (
            self._as_journal_errors(f"cannot remove {entry.file_name} from"),
            contextlib.suppress(FileNotFoundError),
            open_trusted_folder(self._directory) as directory,
        ):
            os.unlink(entry.file_name, dir_fd=directory)
            os.fsync(directory)

    def rename(self, entry: Entry, renamed: Entry) -> Entry:
        """Give an entry's file the name of its next state; return that, or raise JournalError."""
        with (
            self._as_journal_errors(f"cannot rename {entry.file_name} in"),
            open_trusted_folder(self._directory) as directory,
        ):
            old, new = entry.file_name, renamed.file_name
            os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
        return renamed

    def lock(self, entry: Entry, deadline: Deadline) -> LockedEntry | None:
        """Wait for an entry's lock and read it anew; None if it has been taken away.

        Raises JournalError if it stays locked or can no longer be read.
        """
        name = entry.file_name
        with (
            self._as_journal_errors(f"cannot lock {name} in"),
            open_trusted_folder(self._directory) as directory,
        ):
            while True:
                try:
                    descriptor = locked_files.open_to_lock(directory, name)
                except FileNotFoundError:
                    return None
                if locked_files.lock_in_place(descriptor, directory, name):
                    try:
                        return LockedEntry(self, self._read(descriptor, name), descriptor)
                    except JournalError:
                        os.close(descriptor)
                        raise
                os.close(descriptor)
                if not deadline.wait(_LOCK_CHECK_SECONDS):
                    raise JournalError("another process is releasing it, and did not end in time")

    def entries(self, job_id: int | None = None) -> Iterator[Entry | JournalError]:
        """Yield all that the node holds, or all steps and restarts of a job, one after another.

        What was told to end is no longer a job's. There is an error for each entry that cannot be
        read. Raises JournalError if the folder is there but is not to be used.
        """
        return self.read(self.names("" if job_id is None else f"{job_id}-"))

    def entries_over(self) -> Iterator[Entry]:
        """Yield what is there for its record alone, which was not written when it was over."""
        names = (name for name in self._all_names() if name.startswith(OVER_PREFIX))
        found = self.read(filter(_is_entry, names))
        return (entry for entry in found if isinstance(entry, Entry))

    def entries_before(self, unix_seconds: float) -> Iterator[Entry | JournalError]:
        """Yield what was last written before then, see `entries`."""
        return self.read(filter(_is_entry, self._all_names(unix_seconds)))

    def entries_of_step(
        self, job_id: int, restart_count: int, step_id: int
    ) -> Iterator[Entry | JournalError]:
        """Yield what a step holds, see `entries`."""
        return self.read(self.names(_step_prefix(job_id, restart_count, step_id)))

    def entries_of_step_told(self, job_id: int, restart_count: int, step_id: int) -> list[Entry]:
        """Return what a step held and was told to end."""
        prefix = f"{TOLD_PREFIX}{_step_prefix(job_id, restart_count, step_id)}"
        return [each for each in self.read(self.names(prefix)) if isinstance(each, Entry)]

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of all entries that begin so, none of which is read; see `entries`."""
        return [name for name in self._all_names() if name.startswith(prefix) and _is_entry(name)]

    def read(self, names: Iterable[str]) -> Iterator[Entry | JournalError]:
        """Yield the entries of these names that are still there, see `entries`."""
        with (
            self._as_journal_errors("cannot read"),
            contextlib.suppress(FileNotFoundError),
            open_trusted_folder(self._directory) as directory,
        ):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    yield self._read_entry(directory, name)

    def clean_up(self) -> None:
        """Remove files that were cut off before they became entries; raise JournalError.

        So are those that are empty: what holds anything was on disk before it had its name.
        """
        with (
            self._as_journal_errors("cannot clean up"),
            contextlib.suppress(FileNotFoundError),
            open_trusted_folder(self._directory) as directory,
        ):
            for name in self._all_names():
                if name.startswith(locked_files.TEMPORARY_PREFIX):
                    locked_files.remove_leftover(directory, name, self._use_leftover)
                elif _is_entry(name) and _is_empty(directory, name):
                    # Of a note, a crash of the node may leave the name alone.
                    locked_files.remove_leftover(directory, name)

    def _use_leftover(self, descriptor: int) -> bool:
        """Return whether nothing of a leftover is missing in its entry; complete it if need be."""
        try:
            entry = _entry_of(os.read(descriptor, _LARGEST_READ_BYTES))
        except (ValueError, TypeError):
            return True
        if entry.token is None:
            return True
        try:
            locked = self.lock(entry, Deadline(0))
            if locked is not None:
                with locked:
                    if locked.entry.token is None:
                        locked.write(entry)
                        log.info("%s: found its token in a file cut off", entry.file_name)
        except JournalError:
            return False
        return True

    def _all_names(self, before_unix_seconds: float = math.inf) -> list[str]:
        names = []
        with (
            self._as_journal_errors("cannot read"),
            contextlib.suppress(FileNotFoundError),
            open_trusted_folder(self._directory) as directory,
        ):
            for each in os.scandir(directory):
                # It may be gone: entries of others come and go.
                with contextlib.suppress(FileNotFoundError):
                    if before_unix_seconds == math.inf or _written_at(each) < before_unix_seconds:
                        names.append(each.name)
        return sorted(names)

    def _read_entry(self, directory: int, name: str) -> Entry | JournalError:
        """Read one entry; raise FileNotFoundError if it was released meanwhile."""
        try:
            descriptor = locked_files.open_file(directory, name)
        except FileNotFoundError:
            raise
        except OSError as error:
            return self._no_entry(name, _reason(error))
        try:
            return self._read(descriptor, name)
        except JournalError as error:
            return error
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int, name: str) -> Entry:
        """Read and check an entry; whoever could have written it could have us use its values."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise self._no_entry(name, "not a regular file")
        if can_others_write(status):
            raise self._no_entry(name, "others can write it")
        if status.st_size > _LARGEST_READ_BYTES:
            raise self._no_entry(name, "larger than 1 MiB")
        try:
            with os.fdopen(os.dup(descriptor), "rb") as file:
                entry = _entry_of(file.read(_LARGEST_READ_BYTES))
        except (OSError, ValueError, TypeError) as error:
            raise self._no_entry(name, "its content is not one") from error
        is_over = name.startswith(OVER_PREFIX)
        entry = replace(entry, is_told=name.startswith(TOLD_PREFIX), is_over=is_over)
        if entry.file_name != name:
            raise self._no_entry(name, "it has another entry's name")
        if status.st_size > _LARGEST_OF_OURS_BYTES:
            # Of an earlier release, which kept all that its user had exported.
            entry = replace(entry, values=values_for_release(entry.resource_type, entry.values))
            if len(_content_of(entry)) > _LARGEST_OF_OURS_BYTES:
                raise self._no_entry(name, "larger than 32 KiB")
        return entry

    def _no_entry(self, name: str, reason: str) -> JournalError:
        path = self._directory / name
        return JournalError(
            f"{path}: is no entry of this journal ({reason}): look at it, then remove it"
        )

    @contextlib.contextmanager
    def _as_journal_errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except ConfigError as error:
            raise JournalError(f"{error}, or name another folder by --state-dir") from error
        except (OSError, orjson.JSONEncodeError) as error:
            raise JournalError(f"{doing} {self._directory}: {_reason(error)}") from error


def _is_empty(directory: int, name: str) -> bool:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def _reason(error: Exception) -> str:
    if not isinstance(error, OSError):
        return "a value is not UTF-8"
    return "a symbolic link" if error.errno == errno.ELOOP else error.strerror or "no reason given"


def _content_of(entry: Entry) -> bytes:
    document = dict(vars(entry))
    document[_NODE_VARIABLES_KEY] = document.pop("node_variables")
    return orjson.dumps(document)


def _entry_of(content: bytes) -> Entry:
    """Return the entry that a file holds; raise ValueError or TypeError if it holds none."""
    document = orjson.loads(content)
    if not isinstance(document, dict):
        raise TypeError("an entry is an object")
    document["node_variables"] = document.pop(_NODE_VARIABLES_KEY, {})
    if isinstance(document.get("owner"), dict):
        document["owner"] = Owner(**_known(document["owner"], Owner))
    entry = Entry(**_known(document, Entry))
    if not _is_sound(entry):
        raise ValueError("a value has the wrong type")
    return entry


def _known(document: dict[str, Any], kind: type[Entry] | type[Owner]) -> dict[str, Any]:
    """Leave out what only a newer release says, of which entries stay after a rollback."""
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in document.items() if name in names}


def _is_sound(record: Entry | Owner) -> bool:
    return all(_is_of_type(getattr(record, each.name), each.type) for each in fields(record))


def _is_of_type(value: object, wanted: Any) -> bool:
    """Return whether a value is of its field's type, and no number that we cannot work with."""
    if wanted == dict[str, str]:
        return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
    if wanted == list[str]:
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    if not isinstance(value, wanted):
        return False
    if isinstance(value, Owner):
        return _is_sound(value)
    # Only times may be missing.
    largest = _LARGEST_NUMBER if wanted is int else _LATEST_SECONDS
    return not isinstance(value, int) or 0 <= value <= largest
