# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entries nobody holds any more, and when they are tried again."""

import os
from collections import Counter
from dataclasses import replace

import pytest

from spank_qrmi.state.journal import Entry
from spank_qrmi.state.orphans import (
    LONGEST_RETRY_OF_SITE_SECONDS,
    LONGEST_RETRY_SECONDS,
    RETRY_SECONDS,
    in_fair_order,
    is_being_acquired,
    is_due,
    is_orphaned,
    select_orphans,
    select_orphans_to_retry,
)
from spank_qrmi.state.owner import Owner, owner_of

NOW = 1_700_000_000
GONE = Owner(os.uname().nodename, "another boot", 1, 2, 3)


def entry_of(name: str, token: str | None = "t", **changes: object) -> Entry:
    entry = Entry(7, 1, 0, 1000, name, "any", {}, token, owner=GONE, ends_at=NOW + 100)
    return replace(entry, **changes)  # type: ignore[arg-type]


def test_who_is_orphaned_and_who_is_being_acquired() -> None:
    alive = owner_of(os.getpid())
    assert is_orphaned(entry_of("a"))
    assert not is_orphaned(entry_of("a", owner=alive))
    assert not is_orphaned(entry_of("a", owner=None))
    assert is_being_acquired(entry_of("a", None, owner=alive))
    assert not is_being_acquired(entry_of("a", None, owner=None))
    assert not is_being_acquired(entry_of("a", None))
    assert not is_being_acquired(entry_of("a", owner=alive))
    assert not is_being_acquired(entry_of("a", None, owner=alive, failure="told"))


def test_what_a_jobs_end_tries_again() -> None:
    wanted = [
        entry_of("held"),
        entry_of("never answered", None),
        entry_of("ended", None, failure="told", ends_at=NOW),
        entry_of("failed long ago", failure="x", failed_at=NOW - RETRY_SECONDS),
        entry_of("clock was put back", failure="x", failed_at=NOW + 1000),
    ]
    others = [
        entry_of("failed just now", failure="x", failed_at=NOW - RETRY_SECONDS + 1),
        entry_of("told", None, failure="told"),
        entry_of("of a living step", owner=owner_of(os.getpid())),
    ]
    assert select_orphans_to_retry([*wanted, *others], NOW) == wanted
    others_users = [entry_of("a", uid=uid, resource_type=f"type {uid}") for uid in range(100)]
    assert len(select_orphans_to_retry(others_users, NOW)) == 32
    assert select_orphans([*wanted, *others], NOW) == [*wanted, others[0]]


def test_one_user_and_one_service_have_a_share_of_what_a_jobs_end_tries() -> None:
    hostile = [entry_of(f"h{port}", uid=1, resource_type=f"type {port}") for port in range(72)]
    of_one_service = [entry_of(f"s{uid}", uid=uid, resource_type="down") for uid in range(100, 120)]
    last = entry_of("real", uid=2, failure="x", failed_at=NOW - 3600)
    chosen = select_orphans_to_retry([*hostile, *of_one_service, last], NOW)
    assert Counter(each.resource_name[0] for each in chosen) == {"h": 16, "s": 8, "r": 1}


def test_order_in_which_orphans_are_tried() -> None:
    def own(name: str, uid: int, failed_at: int | None = None) -> Entry:
        failure = "" if failed_at is None else "x"
        return entry_of(
            name, uid=uid, failed_at=failed_at, failure=failure, has_users_endpoint=True
        )

    entries = [
        *(own(f"hostile {number}", 1) for number in range(3)),
        own("own, tried", 2, NOW - 10),
        own("own, tried earlier", 2, NOW - 20),
        own("own", 2),
        entry_of("site's, tried", failure="x", failed_at=NOW - 10),
        entry_of("site's, tried earlier", failure="x", failed_at=NOW - 20),
        entry_of("site's"),
    ]
    assert [entry.resource_name for entry in in_fair_order(entries)] == [
        *("site's", "site's, tried earlier", "site's, tried"),
        *("hostile 0", "own"),
        *("hostile 1", "own, tried earlier"),
        *("hostile 2", "own, tried"),
    ]


@pytest.mark.parametrize(
    ("is_users", "longest"),
    [(True, [19200, LONGEST_RETRY_SECONDS]), (False, [LONGEST_RETRY_OF_SITE_SECONDS] * 2)],
)
def test_what_fails_again_and_again_is_tried_less_often(is_users: bool, longest: list[int]) -> None:
    failed = entry_of("a", failed_at=NOW, ends_at=None, has_users_endpoint=is_users)
    pauses = [
        next(
            seconds
            for seconds in range(0, 10**6, RETRY_SECONDS)
            if is_due(replace(failed, failures=failures), NOW + seconds)
        )
        for failures in (0, 1, 2, 3, 7, 8, 2**62)
    ]
    assert pauses == [300, 300, 600, 1200, *longest, longest[1]]
    ends_soon = entry_of("a", failed_at=NOW, failures=9, ends_at=NOW + 400)
    assert not is_due(ends_soon, NOW + 399)
    assert is_due(ends_soon, NOW + 400)
    has_ended = entry_of("a", failed_at=NOW, failures=9, ends_at=NOW)
    assert not is_due(has_ended, NOW + 400)


def test_what_is_at_a_users_endpoint_is_given_up_in_the_end() -> None:
    month = 30 * 86400
    own = entry_of("own", has_users_endpoint=True, acquired_at=NOW, ends_at=NOW + 2 * month)
    failed = replace(own, failure="x")
    unanswered = replace(failed, token=None)
    for entry, seconds in ((own, 2 * month), (failed, month), (unanswered, month)):
        assert select_orphans([entry], NOW + seconds - 1) == (
            [] if entry is unanswered else [entry]
        )
        assert not entry.is_given_up(NOW + seconds - 1)
        assert entry.is_given_up(NOW + seconds)
        assert select_orphans([entry], NOW + seconds) == [entry]
        assert not replace(entry, has_users_endpoint=False).is_given_up(NOW + 3 * month)
