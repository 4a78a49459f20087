# SPDX-License-Identifier: GPL-3.0-or-later
"""The process in which programs run, one after the other; it ends with the server.

Both directions carry frames: four bytes of length, most significant first, then one JSON object.
A request names a function as `module:name`; without arguments, its module is only imported.
"""

import ctypes
import importlib
import os
import signal
import struct
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import orjson

from spank_qrmi_simulator.execution.errors import ExecutionError

LENGTH = struct.Struct(">I")
LONGEST_ERROR = 1000
PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: which signal this process gets when its parent dies."""


def main() -> None:
    """Answer requests until standard input ends."""
    # A simulation cannot be interrupted from within: without the server, the kernel ends it.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "wb")
    # Parsers and simulators print: that would spoil the frames, and the site's log. What went wrong
    # with a program, its job says.
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    warnings.simplefilter("ignore")
    serve(sys.stdin.buffer, answers)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer all requests, one after the other."""
    while header := requests.read(LENGTH.size):
        request = requests.read(LENGTH.unpack(header)[0])
        answer = orjson.dumps(_answer(orjson.loads(request)))
        answers.write(LENGTH.pack(len(answer)) + answer)
        answers.flush()


def _answer(request: Mapping[str, object]) -> dict[str, object]:
    try:
        module, _, name = str(request["function"]).partition(":")
        function = getattr(importlib.import_module(module), name)
        arguments = request.get("arguments")
        return {"result": {} if arguments is None else function(arguments)}
    except ExecutionError as error:
        return {"error": str(error), "reason_code": error.reason_code}
    except ImportError as error:
        return {"error": f"{error}: install spank_qrmi_simulator again, with all that it needs"}
    except Exception as error:  # noqa: BLE001 - a program may fail in any way, its job with it
        # Validators go on with the whole schema; a program's author needs the first lines.
        return {"error": f"{type(error).__name__}: {error}"[:LONGEST_ERROR]}


if __name__ == "__main__":
    main()
