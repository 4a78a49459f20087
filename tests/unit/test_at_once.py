# SPDX-License-Identifier: GPL-3.0-or-later
"""One thing done beside another: its result, or what it raised, reaches whoever waits."""

import threading

import pytest

from spank_qrmi.at_once import begin

TOGETHER_SECONDS = 10


def test_result_comes_from_another_thread_which_works_meanwhile() -> None:
    together = threading.Barrier(2, timeout=TOGETHER_SECONDS)
    wait = begin(lambda: (together.wait(), threading.current_thread())[1])
    together.wait()
    assert wait() is not threading.current_thread()


@pytest.mark.parametrize("error", [ValueError("a"), SystemExit(1)])
def test_error_is_raised_where_it_is_waited_for(error: BaseException) -> None:
    def fail() -> None:
        raise error

    wait = begin(fail)
    with pytest.raises(type(error)) as caught:
        wait()
    assert caught.value is error
