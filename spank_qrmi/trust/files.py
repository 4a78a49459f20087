# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening files that root acts upon, only if nobody else can have put them there or changed them.

The way is walked from the root folder, each step from the opened folder before it: what was checked
is what is opened. File and links on the way must belong to root, or to the user that we are, and
file and folders be writable by nobody else. A folder with the sticky bit, such as /tmp, may be:
what is root's in it stays as root made it. A folder of another user, as /etc/slurm is SlurmUser's
on many nodes, is doubtful: its owner can replace what is in it.

No error advises to take over what somebody else has made: a link or a file that was planted there
would be root's then, and trusted.
"""

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from errno import ELOOP
from pathlib import PurePath

from spank_qrmi.errors import ConfigError

log = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]

MOST_LINKS = 40

_ROOT = 0
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS = stat.S_IRWXG | stat.S_IRWXO
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# Opening a pipe would wait for its writer.
_LAST_STEP = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class TrustedFile:
    """What a file said when it was opened; `is_private` if only its owner may read it.

    `is_public` if everybody may; `doubts` says which folders on the way belong to others.
    """

    content: bytes = field(repr=False)
    is_private: bool
    is_public: bool
    doubts: tuple[str, ...] = ()


def read_trusted_file(path: StrPath, limit_bytes: int, *, may_be_link: bool = False) -> TrustedFile:
    """Return a regular file's content; raise ConfigError naming what is wrong and what to do."""
    doubts: list[str] = []
    try:
        descriptor = _open(path, _LAST_STEP, doubts, may_be_link=may_be_link)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise ConfigError(f"{path}: is no regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(limit_bytes + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _reading_error(path, error) from error
    if len(content) > limit_bytes:
        raise ConfigError(f"{path}: is larger than {limit_bytes} bytes")
    return TrustedFile(content, not mode & OTHERS, bool(mode & stat.S_IROTH), tuple(doubts))


def read_private_file(path: StrPath, limit_bytes: int, *, is_strict: bool) -> bytes:
    """Return the content of a file that its owner alone may read; raise ConfigError as above."""
    file = read_trusted_file(path, limit_bytes)
    warn_or_refuse(file.doubts, is_strict=is_strict)
    if not file.is_private:
        raise ConfigError(exposed_text(path))
    return file.content


def check_trusted(path: StrPath) -> None:
    """Raise ConfigError unless a file or folder that a library will read is to be trusted."""
    try:
        os.close(_open(path, _LAST_STEP, [], may_be_link=True))
    except OSError as error:
        raise _reading_error(path, error) from error


@contextmanager
def open_trusted_folder(
    path: StrPath, subfolder: str = "", *, is_made: bool = False
) -> Iterator[int]:
    """Open a folder, or a folder in it, and yield its descriptor.

    Either must be root's: the first is no mere step on the way to the second, which is no link.
    With `is_made`, what is missing is made for root. Raises ConfigError if others could have
    written it or led us there, OSError otherwise.
    """
    flags = _LAST_STEP | os.O_DIRECTORY
    with ExitStack() as opened:
        descriptor = _open(path, flags, [], may_be_link=True, is_made=is_made)
        opened.callback(os.close, descriptor)
        if subfolder:
            descriptor = _open_subfolder(path, subfolder, descriptor, is_made=is_made)
            opened.callback(os.close, descriptor)
        yield descriptor


def can_others_write(status: os.stat_result) -> bool:
    """Return whether somebody else than root, or the user that we are, owns or may write it."""
    return _is_foreign(status) or bool(status.st_mode & _OTHERS_WRITE)


def exposed_text(path: StrPath) -> str:
    """Return what to tell of a file with secrets that is not private."""
    return f"{path}: holds secrets that others than its owner can read: chmod 600 {path}"


def secret_exposures(path: StrPath, file: TrustedFile) -> tuple[str, ...]:
    """Return how others can get at a file's secrets; raise ConfigError if everybody reads them."""
    if file.is_public:
        raise ConfigError(f"{path}: holds secrets that everybody can read: chmod 600 {path}")
    return file.doubts if file.is_private else (*file.doubts, exposed_text(path))


def warn_or_refuse(exposures: Iterable[str], *, is_strict: bool) -> None:
    """Log each text as a warning, or raise ConfigError with the first one."""
    for text in exposures:
        if is_strict:
            raise ConfigError(f"{text}; --strict-permissions refuses it")
        log.warning("%s", text)


def _open(
    path: StrPath, flags: int, doubts: list[str], *, may_be_link: bool, is_made: bool = False
) -> int:
    """Return the descriptor of what `path` names, which is closed by the caller; add doubts."""
    whole = PurePath(path)
    if not whole.is_absolute():
        raise ConfigError(f"{path}: must be an absolute path")
    with ExitStack() as passed:
        root = here = _step_into("/", None, passed)
        top = place = PurePath(whole.anchor)
        doubts += _doubts(whole, top, os.fstat(root))
        names = list(reversed(whole.relative_to(top).parts))
        links_left = MOST_LINKS
        while True:
            name = names.pop() if names else "."
            try:
                step = _step_into(name, here, passed)
            except FileNotFoundError:
                if not is_made:
                    raise
                _make_folder(name, here)
                step = _step_into(name, here, passed)
            status = os.fstat(step)
            if stat.S_ISLNK(status.st_mode):
                _check_owner(whole, place / name, status)
                if not names and not may_be_link:
                    raise ConfigError(f"{whole}: is a symbolic link: name the file itself")
                links_left -= 1
                if links_left < 0:
                    raise OSError(ELOOP, os.strerror(ELOOP))
                target = PurePath(os.readlink("", dir_fd=step))
                if target.is_absolute():
                    here, place = root, top
                names += reversed(target.relative_to(target.anchor).parts)
            elif names:
                if stat.S_ISDIR(status.st_mode):
                    # What is mounted on demand, is so by opening it as a folder.
                    step = _step_into(name, here, passed, os.O_DIRECTORY)
                    status = os.fstat(step)
                here, place = step, place / name
                doubts += _doubts(whole, place, status)
            else:
                return _open_last(whole, place / name, name, here, flags)


def _step_into(name: str, here: int | None, passed: ExitStack, more_flags: int = 0) -> int:
    """Open a step without reading it: it may be a link, or anything."""
    step = os.open(name, _STEP | more_flags, dir_fd=here)
    passed.callback(os.close, step)
    return step


def _open_last(path: PurePath, place: PurePath, name: str, here: int, flags: int) -> int:
    """Open for reading what has been looked at, and look at what that gave."""
    descriptor = os.open(name, flags, dir_fd=here)
    try:
        status = os.fstat(descriptor)
        _check_owner(path, place, status)
        _check_writers(path, place, status)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _open_subfolder(path: StrPath, name: str, here: int, *, is_made: bool) -> int:
    place = PurePath(path, name)
    with suppress(FileNotFoundError) if is_made else nullcontext():
        return _open_last(place, place, name, here, _LAST_STEP | os.O_DIRECTORY)
    _make_folder(name, here)
    return _open_last(place, place, name, here, _LAST_STEP | os.O_DIRECTORY)


def _make_folder(name: str, here: int) -> None:
    """Make a folder for root alone that outlasts a crash; somebody else may have been faster."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=here)
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _doubts(path: PurePath, folder: PurePath, status: os.stat_result) -> list[str]:
    """Return what is doubtful about a folder on the way; raise ConfigError if others can write."""
    if not status.st_mode & stat.S_ISVTX:
        _check_writers(path, folder, status)
    if not _is_foreign(status):
        return []
    return [
        f"{path}: {folder} belongs to user {status.st_uid}, who can replace what is in it: "
        "keep it below folders that root has made"
    ]


def _check_owner(path: PurePath, place: PurePath, status: os.stat_result) -> None:
    if _is_foreign(status):
        raise ConfigError(
            f"{_subject(path, place)} must belong to root, not to user {status.st_uid}: "
            "remove it, and make it anew as root"
        )


def _check_writers(path: PurePath, place: PurePath, status: os.stat_result) -> None:
    if status.st_mode & _OTHERS_WRITE:
        raise ConfigError(
            f"{_subject(path, place)} must be writable by its owner alone: remove what others may "
            f"have put in it, then chmod go-w {place}"
        )


def _subject(path: PurePath, place: PurePath) -> str:
    return f"{path}:" if place == path else f"{path}: {place}"


def _is_foreign(status: os.stat_result) -> bool:
    return status.st_uid not in {_ROOT, os.geteuid()}


def _reading_error(path: StrPath, error: OSError) -> ConfigError:
    return ConfigError(f"{path}: cannot be read: {error.strerror}")
