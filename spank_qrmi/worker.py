# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that a plugin starts: one request in, one answer out, and it ends.

One socket is its descriptors 0 and 1 (see `protocol`). Whatever happens here, SystemExit included,
becomes a verdict and one readable message. It decides as root; what asks the network is a process
without root, see `network.process`.
"""

import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Collection
from dataclasses import replace

from spank_qrmi.answer import AnswerWriter, logging_to
from spank_qrmi.deadline import Deadline
from spank_qrmi.descriptors import close_from
from spank_qrmi.errors import QrmiError
from spank_qrmi.network.process import start_network_process
from spank_qrmi.network.services import Network
from spank_qrmi.protocol import Request, Verb, Verdict, decode_request, read_version
from spank_qrmi.redaction import error_place
from spank_qrmi.trust import privileges
from spank_qrmi.trust.running_code import refuse_untrusted_code

log = logging.getLogger(__name__)


VerbFunction = Callable[[Request, Deadline, AnswerWriter, Network], None]

# What was looked at in the process that this one was forked from.
_found_trusted: set[str] = set()


def _imported(module: str, name: str) -> VerbFunction:
    """Return a function that is imported when it is called: most verbs need little of the package.

    The modules behind it take longer to import than some verbs take, as does importlib.
    """

    def call(request: Request, deadline: Deadline, answer: AnswerWriter, network: Network) -> None:
        function = getattr(__import__(module, fromlist=(name,)), name)
        refuse_untrusted_code(_found_trusted)
        function(request, deadline, answer, network)

    return call


_VERBS: dict[Verb, VerbFunction] = {
    Verb.ACQUIRE: _imported("spank_qrmi.verbs", "acquire"),
    Verb.RELEASE: _imported("spank_qrmi.verbs", "release"),
    Verb.RELEASE_JOB: _imported("spank_qrmi.verbs", "release_job"),
    Verb.QRUN_ENVIRONMENT: _imported("spank_qrmi.qrun_verbs", "environment"),
    Verb.QRUN_CLEANUP: _imported("spank_qrmi.qrun_verbs", "clean_up"),
}
_OPTIONS = {Verb.QRUN_ENVIRONMENT: "--q-backend", Verb.QRUN_CLEANUP: "--q-backend"}


def serve(channel: socket.socket, network: Network, stepd_pid: int | None = None) -> None:
    """Read one request from the channel and answer it; `stepd_pid` asks, or else our parent."""
    answer = AnswerWriter(channel.sendall)
    with logging_to(answer.log):
        _serve(channel, network, stepd_pid, answer)


def _serve(
    channel: socket.socket, network: Network, stepd_pid: int | None, answer: AnswerWriter
) -> None:
    option = "--qpu"
    try:
        answer.version = read_version(channel.recv)
        request = decode_request(channel.recv, answer.version)
        if stepd_pid is not None:
            request = replace(request, stepd_pid=stepd_pid)
        option = _OPTIONS.get(request.verb, option)
        deadline = Deadline(request.timeout_seconds)
        if request.verb is not Verb.QRUN_ENVIRONMENT:
            network.prepare()
        if request.verb is Verb.ACQUIRE:
            _cancel_when_abandoned(channel, deadline)
        _VERBS[request.verb](request, deadline, answer, network)
    except QrmiError as error:
        _fail(answer, option, str(error))
    except BaseException as error:  # noqa: BLE001 (the boundary: nothing may cross it)
        log.debug("internal error: %s", error_place(error))
        _fail(answer, option, f"internal error of the QPU worker ({type(error).__name__})")


def _fail(answer: AnswerWriter, option: str, text: str) -> None:
    answer.message(f"{option}: {text}")
    # A plugin that asked to acquire then asks for a release in any case: what was acquired so far
    # is in the journal.
    answer.end(Verdict.FAIL, held_count=1)


def _cancel_when_abandoned(channel: socket.socket, deadline: Deadline) -> None:
    """End all waiting once the plugin's side is closed: it asks to undo, or slurmstepd is gone.

    Signals would not do: Slurm sends the worker those that are meant for the job's tasks.
    """

    def wait() -> None:
        with contextlib.suppress(OSError):
            while channel.recv(1):
                pass
        deadline.cancel()

    # Where no thread can be had, the network cannot be asked either, which says so.
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=wait, daemon=True).start()


def _take_channel() -> socket.socket:
    """Take the socket off descriptors 0 and 1, where a stray print would spoil the answer.

    Everything else that slurmd may have left open is closed.
    """
    channel = socket.socket(fileno=os.dup(0))
    if channel.fileno() != _CHANNEL_DESCRIPTOR:
        os.dup2(channel.detach(), _CHANNEL_DESCRIPTOR, inheritable=False)
        channel = socket.socket(fileno=_CHANNEL_DESCRIPTOR)
    close_from(_CHANNEL_DESCRIPTOR + 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return channel


_CHANNEL_DESCRIPTOR = 3


def main(stepd_pid: int | None = None, found_trusted: Collection[str] = ()) -> None:
    """Serve one request as the process that slurmstepd has started.

    The fork server says whose request it is, since that is not the parent's, and which files it has
    found trusted.
    """
    _found_trusted.update(found_trusted)
    os.umask(0o077)
    os.chdir("/")
    channel = _take_channel()
    # Before there is a secret, an open file or a thread that it could inherit.
    network = start_network_process()
    privileges.refuse_to_ask()
    privileges.limit(privileges.WORKER_LIMITS)
    serve(channel, network, stepd_pid)
    network.close()
    sys.stderr.flush()
    # A thread may still hang in a look-up of a name; nothing is left to wait for.
    os._exit(0)


if __name__ == "__main__":
    main()
