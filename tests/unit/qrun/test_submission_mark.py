# SPDX-License-Identifier: GPL-3.0-or-later
"""How qrun tells the step that there may be a quantum job."""

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import suppress

import pytest

from spank_qrmi.qrun.submission_mark import mark_step

JOB_ID = str(uuid.uuid4())


@pytest.fixture
def step() -> Iterator[socket.socket]:
    """What the plugin has open for the tasks whose ids differ in the last four bytes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as step:
        step.bind(f"\0spank_ibm_qrun/{JOB_ID[:28]}")
        yield step


def is_marked(step: socket.socket) -> bool:
    with suppress(BlockingIOError):
        return bool(step.recv(1, socket.MSG_PEEK))
    return False


def test_each_task_marks_the_step_and_the_mark_outlives_it(step: socket.socket) -> None:
    assert not is_marked(step)
    pid = os.fork()
    if pid == 0:
        mark_step(JOB_ID[:28] + "ffffffff")
        os.kill(os.getpid(), 9)
    assert os.waitpid(pid, 0)[1] == 9
    assert is_marked(step)


def test_step_that_many_have_told_is_marked(step: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
        other.connect(step.getsockname())
        with suppress(BlockingIOError):
            while True:
                other.send(b"")
        assert mark_step(JOB_ID)


def test_without_a_step_nobody_hears(step: socket.socket) -> None:
    for other_id in ("", "job-1", "x" * 256, str(uuid.uuid4())):
        assert not mark_step(other_id), other_id
        assert not is_marked(step), other_id
