# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use a resource: what an entry may say, and whom it lets in by number."""

from collections.abc import Sequence

import pytest

from spank_qrmi.configuration.access import EVERYBODY, Access, AllowedIds, access_of, allowed_ids
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ConfigError
from spank_qrmi.trust.name_service import Found, Kind, NameService
from tests.unit.outcomes import refusal_of

PLACE = "c.json: resource a"
OR_LEFT_OUT = "or be left out to let everybody in"


class Directory(NameService):
    """Knows alice (1000) and qteam (5000)."""

    def __init__(self) -> None:
        super().__init__(Deadline(60))

    def _look_up(self, kind: Kind, names: Sequence[str]) -> Found:
        known = {(Kind.USER, "alice"): 1000, (Kind.GROUP, "qteam"): 5000}
        ids = frozenset(known[kind, name] for name in names if (kind, name) in known)
        return Found(ids, len(ids) == len(names))


def test_entry_names_whom_it_lets_in() -> None:
    assert access_of(PLACE, {"name": "a"}) == EVERYBODY
    groups = ("domain users", "DOM\\qteam", "a@b.example", "ü")
    entry = {
        "users": ["alice", "1000", "alice"],
        "groups": [*groups],
        "accounts": ["x" * 256],
        "partitions": ["quantum"] * 256,
    }
    expected = Access(("alice", "1000"), groups, ("x" * 256,), ("quantum",))
    assert access_of(PLACE, entry) == expected


def test_lock_by_a_wrong_name_is_an_error() -> None:
    keys = {"user": "users", "Groups": "groups", "account": "accounts", "partitons": "partitions"}
    for key, meant in keys.items():
        reason = refusal_of(ConfigError, access_of, PLACE, {key: ["a"]}, [key])
        assert reason == (
            f'{PLACE}: {key!r} is not known, and would let everybody in: did you mean "{meant}"?'
        )
    other = {"name": "a", "type": "b", "environment": {}, "locked": [], "comment": "", "ü" * 999: 1}
    assert access_of(PLACE, other, other) == EVERYBODY


NO_NAME = "which can be no name and no number"
NO_ARRAYS: Sequence[tuple[object, str]] = (
    (None, "null"),
    ("alice", "a string"),
    (True, "a boolean"),
    ({"alice": True}, "an object"),
    (1000, "a number"),
    ([1000], "an array"),
    ([["alice"]], "an array"),
)
NO_NAMES = (
    *("", " a", "a\n", "a,b", "a:b", "-a", "+1", "4294967295", "9" * 5000, "\u0661", "a\0"),
    "x" * 257,
)


@pytest.mark.parametrize("key", ["users", "groups", "accounts", "partitions"])
def test_lock_that_is_not_understood_is_an_error(key: str) -> None:
    no_array = f"must be an array of strings, {OR_LEFT_OUT}; got"
    wrong_count = f"must hold 1 to 256 names, {OR_LEFT_OUT}; got"
    refusals: list[tuple[object, str]] = [
        *((value, f"{no_array} {what}") for value, what in NO_ARRAYS),
        *(([], f"{wrong_count} 0"), ([*map(str, range(257))], f"{wrong_count} 257")),
        *((["a", name], f"holds {name[:40]!r}, {NO_NAME}") for name in NO_NAMES),
    ]
    for value, expected in refusals:
        text = refusal_of(ConfigError, access_of, PLACE, {key: value})
        assert text == f'{PLACE}: "{key}" {expected}', f"{value!r:.300}"


def test_whom_an_entry_lets_in_by_number() -> None:
    directory = Directory()
    nobody: frozenset[int] = frozenset()
    for access, expected in (
        (EVERYBODY, None),
        (Access(accounts=("a",), partitions=("b",)), None),
        (Access(users=("alice", "7")), AllowedIds(frozenset({1000, 7}), nobody)),
        (
            Access(groups=("qteam",), users=("bob",)),
            AllowedIds(nobody, frozenset({5000}), is_complete=False),
        ),
        (Access(groups=("none",)), AllowedIds(nobody, nobody, is_complete=False)),
    ):
        assert allowed_ids(access, directory) == expected, access
