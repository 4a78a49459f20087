# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entries nobody holds any more, and when they are tried again."""

import os
from dataclasses import replace

from spank_qrmi.state.journal import Entry
from spank_qrmi.state.orphans import (
    RETRY_SECONDS,
    is_being_acquired,
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
        entry_of("failed long ago", failure="x", failed_at=NOW - RETRY_SECONDS),
        entry_of("clock was put back", failure="x", failed_at=NOW + 1000),
        entry_of("never answered", None),
        entry_of("ended", None, failure="told", ends_at=NOW),
    ]
    others = [
        entry_of("failed just now", failure="x", failed_at=NOW - RETRY_SECONDS + 1),
        entry_of("told", None, failure="told"),
        entry_of("of a living step", owner=owner_of(os.getpid())),
    ]
    assert select_orphans_to_retry([*wanted, *others], NOW) == wanted
    assert len(select_orphans_to_retry([entry_of("a")] * 100, NOW)) == 32
    assert select_orphans([*wanted, *others], NOW) == [*wanted, others[0]]
