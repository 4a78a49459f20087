# SPDX-License-Identifier: GPL-3.0-or-later
"""Doing several things at the same time: the same for many items, or one beside another."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeVar

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import QrmiError
from spank_qrmi.redaction import error_place

log = logging.getLogger(__name__)

# Requests end at the deadline by themselves; on a cancellation, a response that is still under way
# tells what must be given back.
_GRACE_SECONDS = 1.0
_CANCEL_GRACE_SECONDS = 6.0
_CANCEL_CHECK_SECONDS = 0.1

# More than a job has QPUs; all that a long outage has left would exhaust threads and the service.
MOST_AT_ONCE = 64

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

Shares = Mapping[Hashable, int]
"""Whom an item belongs to, and how many of theirs may be under way at once."""


def do_at_once(
    work: Callable[[_Item], _Result],
    items: Sequence[_Item],
    deadline: Deadline,
    most_at_once: int = MOST_AT_ONCE,
    shares_of: Callable[[_Item], Shares] = lambda item: {},
    *,
    tell: Callable[[_Item, _Result | QrmiError, float], None] = lambda item, outcome, seconds: None,
) -> list[_Result | QrmiError]:
    """Do `work` for every item, in threads; return result or error in the items' order.

    In the end `tell` gets each item, its outcome and the seconds that it took.

    One whose shares are used up lets those behind it go first.

    A thread that does not come back in time is left behind: it dies with the process. What no
    thread has come to by then is not begun. If fewer threads can be had, these do it all; if none
    can, the caller's does.
    """
    outcomes: dict[int, _Result | QrmiError] = {}
    seconds: dict[int, float] = {}
    began_at = time.monotonic()
    waiting = _Queue([shares_of(item) for item in items])
    finished = threading.Semaphore(0)

    def attempt(index: int, item: _Item) -> None:
        item_began_at = time.monotonic()
        outcome: _Result | QrmiError
        try:
            outcome = work(item)
        except QrmiError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 (one resource's bug must not take the others down)
            outcome = QrmiError(f"internal error ({type(error).__name__})")
            log.error("internal error: %s", error_place(error))
        seconds[index] = time.monotonic() - item_began_at
        outcomes[index] = outcome

    def attempt_all() -> None:
        try:
            index = waiting.take()
            while index is not None:
                attempt(index, items[index])
                waiting.give_back(index)
                index = None if deadline.has_passed() else waiting.take()
        finally:
            finished.release()

    wanted_threads = range(min(len(items), most_at_once))
    thread_count = sum(_start_thread(attempt_all) for _ in wanted_threads)
    if thread_count == 0:
        attempt_all()
    _wait_for(finished, thread_count, deadline)
    late: QrmiError = QrmiError("gave no result in time")
    ended = [outcomes.get(index, late) for index in range(len(items))]
    for index, (item, outcome) in enumerate(zip(items, ended, strict=True)):
        tell(item, outcome, seconds.get(index, time.monotonic() - began_at))
    return ended


class _Queue:
    """The numbers of items that nobody has begun, in their order; `shares` are each item's.

    What waits for a share is taken by the thread that gives that back.
    """

    def __init__(self, shares: Sequence[Shares]) -> None:
        self._shares = shares
        self._left = list(range(len(shares)))
        self._under_way: Counter[Hashable] = Counter()
        self._lock = threading.Lock()

    def take(self) -> int | None:
        """Return the first that may begin, None if there is none."""
        with self._lock:
            for place, index in enumerate(self._left):
                shares = self._shares[index]
                if all(self._under_way[whose] < most for whose, most in shares.items()):
                    self._under_way.update(shares.keys())
                    return self._left.pop(place)
        return None

    def give_back(self, index: int) -> None:
        """Let others have its shares."""
        with self._lock:
            self._under_way.subtract(self._shares[index].keys())


def begin(work: Callable[[], _Result]) -> Callable[[], _Result]:
    """Do `work` in another thread; return what waits for its result, or raises its error.

    Without a thread for it, it is done by whoever wants the result.
    """
    outcome: Future[_Result] = Future()

    def attempt() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 (raised where the result is waited for)
            outcome.set_exception(error)

    return outcome.result if _start_thread(attempt) else work


def _start_thread(work: Callable[[], None]) -> bool:
    """Start a thread; return False if there can be no more, as limits of the process may say."""
    try:
        threading.Thread(target=work, daemon=True).start()
    except RuntimeError:
        return False
    return True


def _wait_for(finished: threading.Semaphore, count: int, deadline: Deadline) -> None:
    """Return once `count` threads have finished, or some grace after the deadline."""
    grace: Deadline | None = None
    for _ in range(count):
        while not finished.acquire(timeout=_CANCEL_CHECK_SECONDS):
            if grace is None and deadline.has_passed():
                is_early = deadline.is_cancelled()
                grace = Deadline(_CANCEL_GRACE_SECONDS if is_early else _GRACE_SECONDS)
            if grace is not None and grace.has_passed():
                return
