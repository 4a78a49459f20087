# SPDX-License-Identifier: GPL-3.0-or-later
"""Access tokens on disk, so that the jobs of a node use what one of them has fetched.

One file per login of the site's, root's alone, named by a hash of endpoint and credentials: who has
none of these finds no token. Whoever fetches one holds the lock of the file, and the others wait.
Nothing here is an error: without the cache, each job fetches a token of its own.
"""

import contextlib
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from spank_qrmi.clients.tokens import LONGEST_LIFE_SECONDS, LONGEST_TOKEN, Login, is_token
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ConfigError
from spank_qrmi.state import locked_files
from spank_qrmi.state.owner import boot_id
from spank_qrmi.trust.files import OTHERS, StrPath, can_others_write, open_trusted_folder

log = logging.getLogger(__name__)

FOLDER_NAME = "tokens"

MOST_TOKENS = 256
"""Of the site's logins; a user's have none, since there could be any number."""

LONGEST_WAIT_SECONDS = 10.0
"""How long others are waited for that fetch a token, and at most half of the time that is left."""

_KEY = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(rb"[0-9]{1,12}")
_FILE_LIMIT_BYTES = LONGEST_TOKEN + 200
_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.025


@dataclass(frozen=True)
class CachedToken:
    """An access token, for how many seconds it may still be used, and how old it is."""

    text: str = field(repr=False)
    seconds: int
    age_seconds: int = field(default=0, compare=False)


class TokenCache:
    """The tokens below one state directory; `hide` is told each of them before it is used."""

    def __init__(
        self,
        state_directory: StrPath,
        hide: Callable[[Iterable[str]], object] = lambda secrets: None,
    ) -> None:
        self._state_directory = state_directory
        self._directory = Path(state_directory, FOLDER_NAME)
        self.hide = hide

    @staticmethod
    def key_of(login: Login) -> str:
        """Return what the login's file is named by; it does not tell the login."""
        fields = [field.encode("utf-8", "surrogateescape") for field in login.fields]
        return sha256(b"".join(b"%d:%b" % (len(field), field) for field in fields)).hexdigest()

    @contextlib.contextmanager
    def turn(self, key: str, deadline: Deadline) -> Iterator[CachedToken | None]:
        """Give the token of a login; without one, keep others from fetching it at the same time.

        Waits for others no longer than LONGEST_WAIT_SECONDS, so that time is left to do without.
        """
        with contextlib.ExitStack() as held:
            token = None
            with self._tolerate("no token is shared"):
                directory = held.enter_context(self._folder(is_made=True))
                token = self._wait_for_turn(directory, key, deadline, held)
            if token is not None:
                self.hide([token.text])
            yield token

    def store(self, key: str, text: str, seconds: int) -> None:
        """Keep a token for so many seconds, in place of the former one."""
        if not 0 < seconds <= LONGEST_LIFE_SECONDS:
            return
        now = _now()
        content = f"{boot_id()}\n{now}\n{now + seconds}\n{text}\n".encode("ascii")
        with (
            self._tolerate("a token is not kept"),
            self._folder(is_made=True) as directory,
        ):
            if self._remove_unusable(directory, key) >= MOST_TOKENS:
                log.debug("a token is not kept: there are %d others", MOST_TOKENS)
                return
            # Lost in a crash, it is fetched again.
            os.close(locked_files.replace_file(directory, key, content, outlasts_crash=False))

    def drop(self, key: str) -> None:
        """Forget the token of a login."""
        with (
            self._tolerate("a token is not dropped"),
            self._folder() as directory,
        ):
            _remove(directory, key)

    def ages_in_seconds(self) -> list[int]:
        """Return how old each token is that may still be used."""
        with self._tolerate("tokens are not looked at"), self._folder() as directory:
            return [token.age_seconds for token in self._read_all(directory).values()]
        return []

    def stored(self) -> dict[str, CachedToken]:
        """Return the tokens that jobs would use now, by their logins' keys; raise ConfigError."""
        with self._as_config_errors(), self._folder() as directory:
            return self._read_all(directory)
        return {}

    def remove(self, keys: Collection[str] | None = None) -> int:
        """Remove the tokens of these logins, or of all; return how many files that were.

        Raises ConfigError if one of them stays.
        """
        with self._as_config_errors(), self._folder() as directory:
            there = [key for key in _keys_in(directory) if keys is None or key in keys]
            for key in there:
                _remove(directory, key)
            return len(there)
        return 0

    @contextlib.contextmanager
    def _as_config_errors(self) -> Iterator[None]:
        """Raise what is in the way as a ConfigError; a folder that is not there has no token."""
        try:
            yield
        except FileNotFoundError:
            pass
        except OSError as error:
            raise ConfigError(f"{self._directory}: {error.strerror}") from error

    def _folder(self, *, is_made: bool = False) -> AbstractContextManager[int]:
        return open_trusted_folder(self._state_directory, FOLDER_NAME, is_made=is_made)

    def _wait_for_turn(
        self, directory: int, key: str, deadline: Deadline, held: contextlib.ExitStack
    ) -> CachedToken | None:
        """Return the token, or nothing once it is our turn, or nobody can be waited for longer."""
        patience = Deadline(min(LONGEST_WAIT_SECONDS, deadline.remaining_seconds() / 2))
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            token = self._read(directory, key)
            if token is not None:
                return token
            descriptor = locked_files.open_file(directory, key, os.O_RDWR | os.O_CREAT)
            if locked_files.lock_in_place(descriptor, directory, key):
                held.callback(_leave, directory, key, descriptor)
                # Whoever held the lock may have stored one since we have looked.
                return self._read(directory, key)
            os.close(descriptor)
            if patience.has_passed() or not deadline.wait(pause_seconds):
                log.debug("another process fetches the token, and does not end in time")
                return None
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _read(self, directory: int, key: str) -> CachedToken | None:
        """Return a login's token if there is one that may be used; remove what is no such file."""
        try:
            descriptor = locked_files.open_file(directory, key)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._discard(directory, key, f"it cannot be opened: {error.strerror}")
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                self._discard(directory, key, "it is no regular file")
            elif can_others_write(status) or status.st_mode & OTHERS:
                self._discard(directory, key, "it is not root's alone")
            else:
                return _token_of(os.read(descriptor, _FILE_LIMIT_BYTES + 1))
        except ValueError:
            log.debug("%s/%s: holds no token", self._directory, key)
        finally:
            os.close(descriptor)
        return None

    def _read_all(self, directory: int) -> dict[str, CachedToken]:
        found = {key: self._read(directory, key) for key in _keys_in(directory)}
        return {key: token for key, token in found.items() if token is not None}

    def _discard(self, directory: int, key: str, reason: str) -> None:
        log.warning("%s/%s: no token is taken from it: %s", self._directory, key, reason)
        _remove(directory, key)

    def _remove_unusable(self, directory: int, key: str) -> int:
        """Remove what other logins and killed writers have left; return how many are left."""
        count = 0
        for name in os.listdir(directory):
            if name.startswith(locked_files.TEMPORARY_PREFIX):
                locked_files.remove_leftover(directory, name)
            elif name != key and _KEY.fullmatch(name):
                with self._tolerate("an old token is not removed"):
                    count += self._read(directory, name) is not None or _remove_unless_used(
                        directory, name
                    )
        return count

    @contextlib.contextmanager
    def _tolerate(self, consequence: str) -> Iterator[None]:
        """Log what keeps the cache from working; it is no reason to fail."""
        try:
            yield
        except FileNotFoundError:
            pass
        except OSError as error:
            log.debug("%s: %s: %s", consequence, self._directory, error.strerror)
        except ConfigError as error:
            log.debug("%s: %s", consequence, error)


def _token_of(content: bytes) -> CachedToken | None:
    """Return the token that a file holds, nothing if it may not be used now; raise ValueError.

    Times are of a clock that nobody sets and that begins with each boot.
    """
    if not content:
        # Whoever holds the lock is about to replace it.
        return None
    boot, fetched, until, text, end = content.split(b"\n")
    if end or not (_NUMBER.fullmatch(fetched) and _NUMBER.fullmatch(until)):
        raise ValueError("no whole file")
    token = text.decode("ascii")
    if not is_token(token):
        raise ValueError("no token")
    now = _now()
    is_of_this_boot = boot != b"" and boot.decode() == boot_id()
    is_known_time = int(fetched) <= now < int(until) <= int(fetched) + LONGEST_LIFE_SECONDS
    if not (is_of_this_boot and is_known_time):
        return None
    return CachedToken(token, int(until) - now, now - int(fetched))


def _keys_in(directory: int) -> list[str]:
    return sorted(filter(_KEY.fullmatch, os.listdir(directory)))


def _now() -> int:
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))


def _is_usable(descriptor: int) -> bool:
    try:
        return _token_of(os.pread(descriptor, _FILE_LIMIT_BYTES + 1, 0)) is not None
    except ValueError:
        return False


def _leave(directory: int, key: str, descriptor: int) -> None:
    """Let others have their turn; what was only there to be locked goes."""
    try:
        with contextlib.suppress(OSError):
            if locked_files.is_in_place(descriptor, directory, key) and not _is_usable(descriptor):
                os.unlink(key, dir_fd=directory)
    finally:
        os.close(descriptor)


def _remove_unless_used(directory: int, key: str) -> bool:
    """Remove another login's file without a usable token or a lock; return whether it remains."""
    descriptor = locked_files.open_file(directory, key, os.O_RDWR)
    try:
        if not locked_files.lock_in_place(descriptor, directory, key) or _is_usable(descriptor):
            return True
        os.unlink(key, dir_fd=directory)
        return False
    finally:
        os.close(descriptor)


def _remove(directory: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
