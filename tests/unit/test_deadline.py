# SPDX-License-Identifier: GPL-3.0-or-later
"""One moment for a whole piece of work: how much is left, and what ends it early."""

import threading
import time

import pytest

from spank_qrmi.deadline import Deadline

BRIEFLY = 0.001
LONG = 60.0


def test_time_runs_down_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    deadline = Deadline(2.0)
    assert (deadline.remaining_seconds(), deadline.has_passed()) == (2.0, False)
    # A part of the work ends sooner, and never later.
    assert [deadline.within(each).remaining_seconds() for each in (0.5, 3.0)] == [0.5, 2.0]
    now = 101.5
    assert (deadline.remaining_seconds(), deadline.has_passed()) == (0.5, False)
    now = 102.5
    assert (deadline.remaining_seconds(), deadline.has_passed()) == (0.0, True)
    assert not deadline.is_cancelled()


def test_wait_that_would_be_too_long_is_not_begun_and_cancelling_ends_one() -> None:
    assert Deadline(LONG).wait(LONG) is False
    assert Deadline(0).wait(BRIEFLY) is False
    assert Deadline(LONG).wait(BRIEFLY) is True
    deadline = Deadline(LONG)
    thread = threading.Thread(target=deadline.cancel)
    thread.start()
    assert deadline.wait(LONG / 2) is False
    thread.join()


def test_cancelling_lets_it_pass_at_once_with_its_parts_and_is_told() -> None:
    deadline = Deadline(LONG)
    part = deadline.within(LONG / 2)
    told: list[str] = []
    deadline.when_cancelled(lambda: told.append("early"))
    assert told == []
    deadline.cancel()
    deadline.when_cancelled(lambda: told.append("late"))
    deadline.cancel()
    assert told == ["early", "late"]
    for each in (deadline, part):
        assert (each.remaining_seconds(), each.has_passed(), each.is_cancelled()) == (0, True, True)
        assert each.wait(BRIEFLY) is False
