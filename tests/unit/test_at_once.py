# SPDX-License-Identifier: GPL-3.0-or-later
"""Things done at the same time: what became of each reaches whoever waits, threads or none."""

import threading
from collections.abc import Callable
from unittest.mock import Mock

import pytest

from spank_qrmi.at_once import begin, do_at_once
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import QrmiError

TOGETHER_SECONDS = 60


@pytest.fixture
def let_threads_start(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what lets so many more threads start, and then none."""

    start = threading.Thread.start

    def allow(count: int) -> None:
        left = [start] * count

        def start_one(thread: threading.Thread) -> None:
            if not left:
                raise RuntimeError("can't start new thread")
            left.pop()(thread)

        monkeypatch.setattr(threading.Thread, "start", start_one)

    return allow


def test_result_or_error_comes_from_another_thread_which_works_meanwhile() -> None:
    together = threading.Barrier(2, timeout=TOGETHER_SECONDS)
    wait = begin(lambda: (together.wait(), threading.current_thread())[1])
    together.wait()
    assert wait() is not threading.current_thread()
    for error in (ValueError("a"), SystemExit(1)):
        wait = begin(Mock(side_effect=error))
        with pytest.raises(type(error)) as caught:
            wait()
        assert caught.value is error


@pytest.mark.parametrize("thread_count", [0, 1, 2, 5])
def test_all_is_done_by_as_many_threads_as_can_be_had(
    let_threads_start: Callable[[int], None], thread_count: int
) -> None:
    together = threading.Barrier(max(1, thread_count), timeout=TOGETHER_SECONDS)
    workers: set[threading.Thread] = set()
    done: list[int] = []

    def work(item: int) -> int:
        if item < thread_count:
            together.wait()
        workers.add(threading.current_thread())
        done.append(item)
        if item == 3:
            raise QrmiError("refused")
        return 10 * item

    let_threads_start(thread_count)
    outcomes = do_at_once(work, range(5), Deadline(TOGETHER_SECONDS))
    assert [str(outcome) for outcome in outcomes] == ["0", "10", "20", "refused", "40"]
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert len(workers) == max(1, thread_count)
    assert (threading.current_thread() in workers) is (thread_count == 0)


def test_nothing_is_begun_after_the_deadline_without_threads_either(
    let_threads_start: Callable[[int], None],
) -> None:
    deadline = Deadline(TOGETHER_SECONDS)

    def work(item: str) -> str:
        deadline.cancel()
        return item

    let_threads_start(0)
    outcomes = do_at_once(work, "ab", deadline)
    assert [str(each) for each in outcomes] == ["a", "gave no result in time"]
    # By whoever waits.
    assert begin(threading.current_thread)() is threading.current_thread()


def test_one_that_hangs_leaves_threads_for_others(
    let_threads_start: Callable[[int], None],
) -> None:
    go_on = threading.Event()
    began: list[str] = []

    def work(name: str) -> str:
        began.append(name)
        if name == "hangs":
            go_on.wait(TOGETHER_SECONDS)
        elif name == "last":
            go_on.set()
        return name

    items = ["hangs"] * 10 + ["quick"] * 10 + ["last"]
    assert do_at_once(work, items, Deadline(60), 4, lambda name: {name: 2}) == items
    assert began.count("hangs") == 10
    assert began.index("last") < [place for place, name in enumerate(began) if name == "hangs"][2]
    # What waits for a share is done by a single thread too.
    numbers = list(range(20))
    for thread_count in (0, 1, 3):
        let_threads_start(thread_count)
        assert do_at_once(lambda n: n, numbers, Deadline(60), 4, lambda n: {n % 3: 1}) == numbers


def test_each_outcome_is_told_with_its_seconds() -> None:
    go_on = threading.Event()
    told: dict[str, tuple[str, float]] = {}

    def work(name: str) -> str:
        if name == "late":
            go_on.wait(TOGETHER_SECONDS)
        if name == "bad":
            raise QrmiError("bad")
        return name

    def tell(item: str, outcome: object, seconds: float) -> None:
        told[item] = (str(outcome), seconds)

    outcomes = do_at_once(work, ["good", "bad", "late"], Deadline(0.3), tell=tell)
    go_on.set()
    assert [text for text, _ in told.values()] == [str(each) for each in outcomes]
    assert told["good"][1] < told["late"][1]
