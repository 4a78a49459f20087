# SPDX-License-Identifier: GPL-3.0-or-later
"""Doing several things at the same time: the same for many items, or one beside another."""

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
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


def do_at_once(
    work: Callable[[_Item], _Result],
    items: Sequence[_Item],
    deadline: Deadline,
    most_at_once: int = MOST_AT_ONCE,
) -> list[_Result | QrmiError]:
    """Do `work` for every item, in threads; return result or error in the items' order.

    A thread that does not come back in time is left behind: it dies with the process. What no
    thread has come to by then is not begun. If fewer threads can be had, these do it all; if none
    can, the caller's does.
    """
    outcomes: dict[int, _Result | QrmiError] = {}
    waiting: SimpleQueue[tuple[int, _Item]] = SimpleQueue()
    finished = threading.Semaphore(0)

    def attempt(index: int, item: _Item) -> None:
        try:
            outcomes[index] = work(item)
        except QrmiError as error:
            outcomes[index] = error
        except Exception as error:  # noqa: BLE001 (one resource's bug must not take the others down)
            outcomes[index] = QrmiError(f"internal error ({type(error).__name__})")
            log.error("internal error: %s", error_place(error))

    def attempt_all() -> None:
        try:
            with contextlib.suppress(Empty):
                attempt(*waiting.get_nowait())
                while not deadline.has_passed():
                    attempt(*waiting.get_nowait())
        finally:
            finished.release()

    for numbered in enumerate(items):
        waiting.put(numbered)
    wanted_threads = range(min(len(items), most_at_once))
    thread_count = sum(_start_thread(attempt_all) for _ in wanted_threads)
    if thread_count == 0:
        attempt_all()
    _wait_for(finished, thread_count, deadline)
    late: QrmiError = QrmiError("gave no result in time")
    return [outcomes.get(index, late) for index in range(len(items))]


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
