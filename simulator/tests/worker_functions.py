# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions that the tests let the simulator's workers run."""

import os
import time
from collections.abc import Mapping

from spank_qrmi_simulator.execution.errors import ExecutionError


def process_id(arguments: Mapping[str, object]) -> dict[str, object]:
    """Return the worker's process id, and the arguments; write where answers would be spoilt."""
    os.write(1, b"noise")
    return {"process": os.getpid(), **arguments}


def sleep(arguments: Mapping[str, object]) -> dict[str, object]:
    time.sleep(float(str(arguments["seconds"])))
    return {}


def fail(arguments: Mapping[str, object]) -> dict[str, object]:
    raise ExecutionError("not today", 1517)


def stumble(arguments: Mapping[str, object]) -> dict[str, object]:
    raise KeyError("surprise")


def ramble(arguments: Mapping[str, object]) -> dict[str, object]:
    raise ValueError("x" * 5000)


def die(arguments: Mapping[str, object]) -> dict[str, object]:
    os._exit(1)
