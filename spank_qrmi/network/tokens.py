# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's access tokens, for the network process and from it: the worker's end, which is root.

What it tells of a token is believed only of logins that it was told of here.
"""

import threading
from collections.abc import Callable

from spank_qrmi.clients.tokens import Login, is_token
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ProtocolError, ServiceError
from spank_qrmi.state.token_cache import TokenCache

_MOST_NEW_TOKENS = 1000


class NodeTokens:
    """What passes between the node's cache and the network process."""

    def __init__(self, cache: TokenCache) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._known_keys: set[str] = set()
        # What it has told of these logins, until that is in the cache.
        self._new_tokens: dict[str, tuple[str, int]] = {}
        self._new_tokens_left = _MOST_NEW_TOKENS

    def provide(
        self,
        login: Login,
        deadline: Deadline,
        tell: Callable[[str, str, str], None],
        log_in: Callable[[], object],
    ) -> None:
        """Tell the network process a login's token: the node's, or a new one that it fetches.

        `tell` is given the login's key, its token or nothing, and for how many seconds. If there is
        no token, what asks with it says why; raises ServiceError if no time is left to.
        """
        key = self._cache.key_of(login)
        with self._cache.turn(key, deadline) as token:
            text, seconds = (token.text, token.seconds) if token is not None else ("", 0)
            with self._lock:
                self._known_keys.add(key)
            tell(key, text, str(seconds))
            if token is None:
                self._have_new_one(log_in, deadline)

    def _have_new_one(self, log_in: Callable[[], object], deadline: Deadline) -> None:
        try:
            log_in()
        except ServiceError as error:
            # Until then, the next request fails for the same reason and tells what for.
            if deadline.has_passed():
                error.may_have_acted = False
                raise
        finally:
            self.keep_new()

    def hide(self, secrets: list[str]) -> None:
        """Let no log and no answer show these."""
        self._cache.hide(secrets)

    def note(self, key: str, text: str, seconds: int) -> None:
        """Remember a token until the end of the call that needed it; raise ProtocolError."""
        with self._lock:
            self._new_tokens_left -= 1
            if key not in self._known_keys:
                raise ProtocolError("a token of a login that it was not told of")
            if self._new_tokens_left < 0 or (text and not is_token(text)):
                raise ProtocolError("more tokens than it can need, or none that can be sent")
            if text:
                self._cache.hide([text])
            self._new_tokens[key] = (text, seconds)

    def keep_new(self) -> None:
        """Put into the cache what the process has told of tokens since the last time."""
        with self._lock:
            told, self._new_tokens = self._new_tokens, {}
        for key, (text, seconds) in told.items():
            if text:
                self._cache.store(key, text, seconds)
            else:
                self._cache.drop(key)
