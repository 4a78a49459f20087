# SPDX-License-Identifier: GPL-3.0-or-later
"""A deadline for the processes that tests start."""

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def killed_after(seconds: float, process: "subprocess.Popen[Any]") -> Iterator[None]:
    """Kill a process on leaving, or earlier after that time: whoever reads from it goes on."""
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        process.kill()
