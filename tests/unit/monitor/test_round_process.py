# SPDX-License-Identifier: GPL-3.0-or-later
"""A round has a process of its own, which ends with it whatever happens there."""

import errno
import logging
import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from spank_qrmi.errors import ConfigError
from spank_qrmi.monitor import round_process
from spank_qrmi.monitor.observations import Observation, Round
from spank_qrmi.monitor.round_process import run_in_process
from spank_qrmi.redaction import Redactor
from spank_qrmi.status import QpuState, QpuStatus

log = logging.getLogger("spank_qrmi.test")

PAUSED, ONLINE = QpuStatus(QpuState.PAUSED, "maintenance", 3), QpuStatus(QpuState.ONLINE)
ONE = Observation("a", ("t", "u"), PAUSED, False, False, 1.5, (1, 2), ())
SEEN = Round((ONE, Observation("b", ("t",), ONLINE, True)))
SECRET = "secret-of-the-site"


@pytest.fixture(autouse=True)
def _leaves_no_process() -> Iterator[None]:
    """None that this thread has started and not reaped."""
    children = Path("/proc/thread-self/children")
    before = children.read_text().split()
    yield
    assert set(children.read_text().split()) <= set(before)


def hang(redactor: Redactor) -> Round:
    time.sleep(600)
    return SEEN


def test_what_it_has_seen_and_logged_is_told_once_without_secrets() -> None:
    def work(redactor: Redactor) -> Round:
        redactor.add([SECRET])
        for _ in range(2):
            log.warning("bad: %s", SECRET)
        log.info("not told")
        return SEEN

    assert run_in_process(work, 10) == replace(SEEN, problems=("bad: ****",))


def test_whatever_ends_it_is_the_rounds_failure_without_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(redactor: Redactor) -> Round:
        redactor.add([SECRET])
        raise ConfigError(f"no configuration {SECRET}")

    assert run_in_process(fail, 10) == Round(failure="no configuration ****")
    failure = "the process that asks ended before it had told anything"
    assert run_in_process(lambda redactor: os._exit(0), 10) == Round(failure=failure)
    # Of a bug nothing is told but its place.
    failure = run_in_process(Mock(side_effect=ValueError(SECRET)), 10).failure
    assert failure.startswith("internal error: ValueError at ")
    assert SECRET not in failure
    monkeypatch.setattr(round_process, "_MARGIN_SECONDS", 0.1)
    assert run_in_process(hang, 0.1) == Round(failure="the process that asks did not end in time")
    monkeypatch.setattr(os, "fork", Mock(side_effect=BlockingIOError(errno.EAGAIN, "no room")))
    failure = "no process can be started to ask: no room"
    assert run_in_process(lambda redactor: SEEN, 10) == Round(failure=failure)


def test_monitor_that_is_told_to_end_takes_it_along() -> None:
    former = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            run_in_process(hang, 60)
    finally:
        signal.signal(signal.SIGALRM, former)


def test_process_ends_with_a_monitor_that_is_killed() -> None:
    monitor = os.fork()
    if monitor == 0:
        run_in_process(hang, 600)
        os._exit(0)
    deadline = time.monotonic() + 60
    path = Path(f"/proc/{monitor}/task/{monitor}/children")
    while not (found := path.read_text().split()):
        assert time.monotonic() < deadline
    asking = os.pidfd_open(int(found[0]))
    os.kill(monitor, signal.SIGKILL)
    os.waitpid(monitor, 0)
    # It can be read once the process has ended.
    assert select.select([asking], [], [], 60)[0]
    os.close(asking)
