# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that a plugin has for one request: one request in, one answer out, and it ends.

The worker server has forked it, or slurmstepd has started it, with one socket as descriptors 0 and
1 (see `protocol`). Whatever happens here, SystemExit included,
becomes a verdict and one readable message. It decides as root; what asks the network is a process
without root, see `network.process`.
"""

import contextlib
import logging
import os
import resource
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from spank_qrmi.answer import AnswerWriter, logging_to
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import ArgumentError, ConfigError, QrmiError, UntrustedPathError
from spank_qrmi.job import qrun
from spank_qrmi.job.acquire import acquire
from spank_qrmi.job.release import release, release_job
from spank_qrmi.job.step import advice_to_check
from spank_qrmi.network.worker_side import Network, start_network_process
from spank_qrmi.protocol import Request, Verb, Verdict, decode_request, read_version
from spank_qrmi.redaction import error_place
from spank_qrmi.trust import privileges
from spank_qrmi.trust.descriptors import keep_only
from spank_qrmi.trust.running_code import refuse_untrusted_code

log = logging.getLogger(__name__)

WORKER_LIMITS: Mapping[int, int] = {
    resource.RLIMIT_CORE: privileges.NO_CORE,
    resource.RLIMIT_DATA: 1024 * privileges.MIB,
    resource.RLIMIT_NOFILE: 1024,
}
"""For what runs as root: no core that would hold secrets, and an end to what grows without one."""

_MOST_ORDER_BYTES = 20
_PASSED_COUNT = 2

VerbFunction = Callable[[Request, Deadline, AnswerWriter, Network], None]

_VERBS: dict[Verb, VerbFunction] = {
    Verb.ACQUIRE: acquire,
    Verb.RELEASE: release,
    Verb.RELEASE_JOB: release_job,
    Verb.QRUN_ENVIRONMENT: qrun.answer_variables,
    Verb.QRUN_CLEANUP: qrun.clean_up,
}
_OPTIONS = {Verb.QRUN_ENVIRONMENT: "--q-backend", Verb.QRUN_CLEANUP: "--q-backend"}


def serve(channel: socket.socket, network: Network, stepd_pid: int | None = None) -> None:
    """Read one request from the channel and answer it.

    `stepd_pid` is given by the server that this worker was forked from; without it our parent asks.
    """
    answer = AnswerWriter(channel.sendall)
    option = "--qpu"
    with logging_to(answer.log):
        try:
            answer.version = read_version(channel.recv)
            request = decode_request(channel.recv, answer.version)
            option = _OPTIONS.get(request.verb, option)
            if stepd_pid is None:
                refuse_untrusted_code()
            else:
                # Its server has looked at the code.
                request = replace(request, stepd_pid=stepd_pid)
            deadline = Deadline(request.timeout_seconds)
            if request.verb is Verb.ACQUIRE:
                _cancel_when_abandoned(channel, deadline)
            _VERBS[request.verb](request, deadline, answer, network)
        except (ArgumentError, ConfigError, UntrustedPathError) as error:
            text = f"{error}; {advice_to_check()}"
        except QrmiError as error:
            text = str(error)
        except BaseException as error:  # noqa: BLE001 (the boundary: nothing may cross it)
            log.debug("internal error: %s", error_place(error))
            text = f"internal error of the QPU worker ({type(error).__name__})"
        else:
            return
        answer.send_message(f"{option}: {text}")
        # A plugin that asked to acquire then asks for a release in any case: what was acquired so
        # far is in the journal.
        answer.end(Verdict.FAIL, left_count=1)


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


def main() -> None:
    """Serve one request as the process that slurmstepd has started, over descriptors 0 and 1."""
    os.umask(0o077)
    os.chdir("/")
    channel = keep_only(socket.socket(fileno=os.dup(0)))
    _take_standard_streams(os.dup(2))
    _serve_and_end(channel, fork_network_process())


def wait_for_plugin(orders: socket.socket) -> None:
    """Get ready, and serve the plugin that the worker server names; end if it names none.

    An order is the process id of the slurmstepd that asks, with ends of its socket and stderr pipe.
    """
    orders = keep_only(orders)
    network = fork_network_process()
    if not network.lives_until_readable(orders):
        # Whom it was handed out to could ask nothing. Its server has another one then.
        os._exit(1)
    packet, descriptors, _, _ = socket.recv_fds(orders, _MOST_ORDER_BYTES, _PASSED_COUNT)
    if not packet:
        network.close()
        os._exit(0)
    orders.close()
    channel, stderr_end = descriptors
    _take_standard_streams(stderr_end)
    _serve_and_end(socket.socket(fileno=channel), network, int(packet))


def _take_standard_streams(stderr_end: int) -> None:
    """Let a stray print go where errors go: in the channel it would spoil the answer."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(stderr_end, 1)
    os.dup2(stderr_end, 2)
    os.close(nothing)
    os.close(stderr_end)


def fork_network_process() -> Network:
    """Fork the process that asks; this one, which decides, has limits and asks nothing for good.

    Called before there is a secret, an open file or a thread that it could inherit.
    """
    network = start_network_process()
    privileges.refuse_to_ask()
    privileges.limit(WORKER_LIMITS)
    return network


def _serve_and_end(channel: socket.socket, network: Network, stepd_pid: int | None = None) -> None:
    serve(channel, network, stepd_pid)
    network.close()
    sys.stderr.flush()
    # A thread may still hang in a look-up of a name; nothing is left to wait for.
    os._exit(0)
