# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use a resource: the keys `users`, `groups`, `accounts` and `partitions` of its entry."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from spank_qrmi.configuration.json_document import json_type
from spank_qrmi.errors import ConfigError
from spank_qrmi.trust.name_service import Kind, NameService, number_of

ACCESS_KEYS = ("users", "groups", "accounts", "partitions")

MOST_NAMES = 256
MAX_NAME_BYTES = 256

_LIKENESS = 0.8


@dataclass(frozen=True)
class Access:
    """Whom an entry lets in; None for a key that it does not have, which keeps nobody out.

    A user is let in by `users` or by one of `groups`. The job's account and partition must be among
    `accounts` and `partitions` as well. A text of digits in `users` and `groups` is a number.
    """

    users: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    accounts: tuple[str, ...] | None = None
    partitions: tuple[str, ...] | None = None

    @property
    def is_for_every_user(self) -> bool:
        """Whether it does not matter who asks."""
        return self.users is None and self.groups is None


EVERYBODY = Access()


@dataclass(frozen=True)
class AllowedIds:
    """Whom an entry lets in, by number: users, or who is in one of these groups.

    `is_complete` says whether this node knows all of the entry's users and groups.
    """

    uids: frozenset[int]
    gids: frozenset[int]
    is_complete: bool = True


def access_of(place: str, entry: Mapping[str, object], unread: Iterable[str] = ()) -> Access:
    """Return whom an entry lets in; raise ConfigError for a lock that is not understood.

    `unread` are its keys that mean nothing: one of them may be meant for a lock.
    """
    for key in unread:
        meant = get_close_matches(key[:MAX_NAME_BYTES].lower(), ACCESS_KEYS, 1, _LIKENESS)
        if meant:
            raise ConfigError(
                f"{place}: {key!r} is not known, and would let everybody in: "
                f'did you mean "{meant[0]}"?'
            )
    keys = [key for key in ACCESS_KEYS if key in entry]
    return Access(**{key: _names(f'{place}: "{key}"', entry[key]) for key in keys})


def allowed_ids(access: Access, names: NameService) -> AllowedIds | None:
    """Return whom an entry lets in by number, None if it is for every user.

    Raises NameServiceError if that cannot be found out in time.
    """
    if access.is_for_every_user:
        return None
    users = names.ids_of(Kind.USER, access.users or ())
    groups = names.ids_of(Kind.GROUP, access.groups or ())
    return AllowedIds(users.ids, groups.ids, users.is_complete and groups.is_complete)


def _names(place: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigError(
            f"{place} must be an array of strings, or be left out to let everybody in; "
            f"got {json_type(value)}"
        )
    if not 0 < len(value) <= MOST_NAMES:
        raise ConfigError(
            f"{place} must hold 1 to {MOST_NAMES} names, or be left out to let everybody in; "
            f"got {len(value)}"
        )
    for name in value:
        _check_name(place, name)
    return tuple(dict.fromkeys(value))


def _check_name(place: str, name: str) -> None:
    """Raise ConfigError for what nothing is called, or what getent(1) reads as something else."""
    is_usable = (
        0 < len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES
        and name.isprintable()
        and name == name.strip()
        and not name.startswith(("+", "-"))
        and not set(name) & set(":,")
    )
    if not is_usable or (name.isdigit() and number_of(name) is None):
        raise ConfigError(f"{place} holds {name[:40]!r}, which can be no name and no number")
