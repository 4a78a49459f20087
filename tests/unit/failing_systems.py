# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that are full, and processes that are killed at any moment."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.deadlines import killed_after

PATIENCE_SECONDS = 60
# To fork is much quicker than to start and import all again. Who is forked ends with its parent, or
# whoever reads from it would wait for it (PR_SET_PDEATHSIG).
PROGRAM = """
import ctypes, os, signal, sys
{program}
for turn in map(int, sys.stdin):
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        print(os.getpid(), flush=True)
        work(turn)
    os.wait()
    print("killed", flush=True)
"""


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file become larger than that, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def killed_programs(program: str, *arguments: str) -> Iterator[Callable[[int, int], list[str]]]:
    """Give what calls the program's `work` with a number in a process of its own.

    It is killed once it has told so many lines; all that it has told is returned.
    """
    command = [sys.executable, "-c", PROGRAM.format(program=program), *arguments]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server,
        killed_after(PATIENCE_SECONDS, server),
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        read = server.stdout.readline
        order = server.stdin

        def work(number: int, line_count: int) -> list[str]:
            print(number, file=order, flush=True)
            pid = int(read())
            lines = [read() for _ in range(line_count)]
            assert not {"", "killed\n"} & {*lines}
            os.kill(pid, signal.SIGKILL)
            return [line.rstrip("\n") for line in [*lines, *iter(read, "killed\n")]]

        yield work
