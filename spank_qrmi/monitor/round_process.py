# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of one round: as a job's worker, root that decides, and a process without root asks.

It is forked for each round and ends with it, or with the monitor: whatever a round has left, a
secret, a thread that hangs, a connection, is gone before the next one. The monitor itself reads no
credential.
"""

import logging
import os
import select
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from spank_qrmi.answer import logging_to
from spank_qrmi.configuration.qrmi_plugstack import PluginArguments
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import QrmiError
from spank_qrmi.monitor.asking import ask_all
from spank_qrmi.monitor.observations import Round, round_from_json, round_to_json
from spank_qrmi.redaction import Redactor, error_place
from spank_qrmi.trust import privileges
from spank_qrmi.trust.descriptors import keep_only
from spank_qrmi.worker.process import fork_network_process

ROUND_SECONDS = 20.0
"""How long the services may take altogether; a round that is over later is none."""

MOST_PROBLEMS = 100

_MARGIN_SECONDS = 10.0
_MOST_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024

log = logging.getLogger(__name__)


def ask_in_process(arguments: PluginArguments, seconds: float = ROUND_SECONDS) -> Round:
    """Return what a process of its own has seen; a failure of it is the round's.

    Called by a process whose only other thread may be that of metrics.
    """
    return run_in_process(lambda redactor: _observe(arguments, redactor, seconds), seconds)


def run_in_process(work: Callable[[Redactor], Round], seconds: float) -> Round:
    """Return what `work` gives in a process of its own, which is killed if it takes longer."""
    parent_pid = os.getpid()
    ours, theirs = socket.socketpair()
    try:
        pid = os.fork()
    except OSError as error:
        ours.close()
        theirs.close()
        return Round(failure=f"no process can be started to ask: {error.strerror}")
    if pid == 0:
        try:
            ours.close()
            _serve(theirs, parent_pid, work)
        finally:
            # Nothing of what the monitor does next may be done twice.
            os._exit(1)
    theirs.close()
    try:
        with ours:
            return _read(ours, Deadline(seconds + _MARGIN_SECONDS))
    except (ValueError, KeyError, TypeError):
        return Round(failure="the process that asks ended before it had told anything")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _observe(arguments: PluginArguments, redactor: Redactor, seconds: float) -> Round:
    network = fork_network_process()
    observations = ask_all(arguments, network, redactor, seconds)
    network.end()
    return Round(tuple(observations))


def _serve(channel: socket.socket, parent_pid: int, work: Callable[[Redactor], Round]) -> NoReturn:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)
    channel = keep_only(channel)
    redactor = Redactor()
    problems: dict[str, None] = {}

    def note(level: int, line: str) -> None:
        if level >= logging.WARNING and len(problems) < MOST_PROBLEMS:
            problems[redactor.clear(line)] = None

    with logging_to(note):
        try:
            privileges.seal(parent_pid)
            seen = work(redactor)
        except QrmiError as error:
            seen = Round(failure=redactor.clear(str(error)))
        except Exception as error:  # noqa: BLE001 (the boundary: nothing may cross it)
            seen = Round(failure=f"internal error: {error_place(error)}")
    channel.sendall(round_to_json(replace(seen, problems=tuple(problems))))
    # A thread may still hang in a look-up of a name.
    os._exit(0)


def _read(channel: socket.socket, deadline: Deadline) -> Round:
    content = bytearray()
    while select.select([channel], [], [], deadline.remaining_seconds())[0]:
        chunk = channel.recv(_CHUNK_BYTES)
        if not chunk:
            return round_from_json(bytes(content))
        content += chunk
        if len(content) > _MOST_BYTES:
            return Round(failure="the process that asks tells too much")
    return Round(failure="the process that asks did not end in time")
