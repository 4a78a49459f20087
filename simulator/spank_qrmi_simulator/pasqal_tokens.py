# SPDX-License-Identifier: GPL-3.0-or-later
"""The tokens of Pasqal Cloud: which are valid, and what one looks like.

State only: who gets a token is decided in `pasqal_login`.
"""

import base64
import secrets
from collections.abc import Callable

import orjson

PROJECT_ID = "simulator-project"
AUTH_TOKEN = "simulator-pasqal-token"  # noqa: S105 (a made-up one)
"""A token that never expires, for a configuration without a login."""


class PasqalTokens:
    """The bearer tokens that were issued and have not expired; times are Unix seconds."""

    def __init__(self, clock: Callable[[], float], lifetime_seconds: int) -> None:
        self._now = clock
        self.lifetime_seconds = lifetime_seconds
        self._expiries: dict[str, float] = {}

    def issue(self, subject: str, audience: str) -> str:
        """Return a new token, a JWT as the service's are: clients read its `exp`."""
        now = self._now()
        self._expiries = {text: at for text, at in self._expiries.items() if at > now}
        expires_at = now + self.lifetime_seconds
        claims = {"sub": subject, "aud": audience, "iat": int(now), "exp": int(expires_at)}
        header = {"alg": "HS256", "typ": "JWT"}
        # Nobody can verify the signature, so that any unguessable bytes will do.
        parts = (orjson.dumps(header), orjson.dumps(claims), secrets.token_bytes(32))
        text = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
        self._expiries[text] = expires_at
        return text

    def is_valid(self, text: str) -> bool:
        """Return whether a token opens the service now."""
        return text == AUTH_TOKEN or self._expiries.get(text, 0.0) > self._now()

    def expire(self) -> None:
        """Make every token issued so far invalid."""
        self._expiries.clear()
