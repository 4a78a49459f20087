# SPDX-License-Identifier: GPL-3.0-or-later
"""`qrun`, the users' command: its options, its signals and its exit status."""

import argparse
import contextlib
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType

from spank_qrmi import __version__
from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.errors import QrmiError
from spank_qrmi.numbers_in_text import parse_number
from spank_qrmi.qrun.outcome import SIGNAL_BASE, ExitStatus, status_of
from spank_qrmi.qrun.progress import Progress
from spank_qrmi.qrun.run import QuantumRun, RunOptions
from spank_qrmi.qrun.standard_error import StandardError
from spank_qrmi.redaction import Redactor, error_place

DEFAULT_HTTP_TIMEOUT_SECONDS = 60
LONGEST_HTTP_TIMEOUT_SECONDS = 3600

CLEAN_UP_SECONDS = 30.0

LOOK_SECONDS = 0.5
"""How long a signal may go unnoticed."""

STOP_RESPONSE_SECONDS = 1.5
STOP_CLEAN_UP_SECONDS = 6.0
"""After a signal Slurm waits for KillWait, 30 s by default, before it kills."""

_STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_Events = queue.SimpleQueue["signal.Signals | _Ending"]


@dataclass(frozen=True)
class _Ending:
    """How the run ended by itself; an empty message says nothing more than the status."""

    status: ExitStatus
    message: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one primitive input; return the exit status, see ExitStatus.

    SIGTERM, SIGINT and SIGHUP cancel the quantum job; the status is then 128 and the signal.
    """
    options = _parser().parse_args(arguments)
    redactor = Redactor()
    environment = dict(os.environ)
    redactor.add_variables(
        (name, value) for name, value in environment.items() if name.startswith(names.PREFIX)
    )
    # The libraries' own warnings would stand between our lines.
    logging.getLogger().addHandler(logging.NullHandler())
    stderr = StandardError(sys.stderr)
    progress = Progress(stderr, redactor, is_quiet=options.quiet)
    run_options = RunOptions(
        input_path=options.input,
        result_path=options.results,
        http_timeout_seconds=options.http_timeout,
        keeps_objects=options.keep_objects,
    )
    return _supervise(QuantumRun(run_options, environment, progress), progress, stderr)


def _supervise(run: QuantumRun, progress: Progress, stderr: StandardError) -> int:
    """Let the run go on in a thread, so that a signal is answered whatever it waits for."""
    events: _Events = queue.SimpleQueue()
    with _signals_to(events):
        thread = threading.Thread(target=lambda: events.put(_ending_of(run)), daemon=True)
        thread.start()
        event = _first_of(events)
        if isinstance(event, signal.Signals):
            stderr.hurry()
            run.stop()
            # A submission under way is answered in most cases; its end is simpler than its undoing.
            thread.join(STOP_RESPONSE_SECONDS)
            run.clean_up(STOP_CLEAN_UP_SECONDS)
            if run.is_delivered:
                return ExitStatus.COMPLETED
            progress.error(f"stopped by {event.name}")
            return SIGNAL_BASE + event
    if event.message:
        progress.error(event.message)
    return event.status


def _first_of(events: _Events) -> "signal.Signals | _Ending":
    # A signal that comes just before a wait does not break that off: its handler runs after it.
    while True:
        with contextlib.suppress(queue.Empty):
            return events.get(timeout=LOOK_SECONDS)


def _ending_of(run: QuantumRun) -> _Ending:
    """Perform the run and clean up after it; return how it ended."""
    try:
        try:
            return _Ending(run.perform())
        except QrmiError as error:
            return _Ending(status_of(error, ExitStatus.SUBMISSION), str(error))
        finally:
            if not run.is_stopped:
                run.clean_up(CLEAN_UP_SECONDS)
    except Exception as error:  # noqa: BLE001 (whoever waits for the ending must get one)
        return _Ending(ExitStatus.FAULT, f"a fault in qrun itself: {error_place(error)}")


@contextlib.contextmanager
def _signals_to(events: _Events) -> Iterator[None]:
    """Put each signal that is to stop the command into `events`, but those we shall ignore."""

    def note(number: int, _frame: FrameType | None) -> None:
        events.put(signal.Signals(number))

    earlier = {
        number: signal.signal(number, note)
        for number in _STOPPING_SIGNALS
        # nohup and shells' background jobs start us with some of them ignored.
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    statuses = "\n".join(f"  {status:<5} {status.meaning}" for status in ExitStatus)
    parser = argparse.ArgumentParser(
        prog="qrun",
        description="Run a primitive input (PUBs, JSON) on a backend of IBM Direct Access and "
        "wait for its result.\nBackend, primitive and credentials come from the job: submit it "
        "with --q-backend and --q-primitive.",
        epilog=f"exit status:\n{statuses}\n  128+N stopped by signal N; the quantum job is "
        "cancelled then",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="INPUT", help="file with the primitive input; - is stdin")
    parser.add_argument(
        "-r", "--results", metavar="FILE", help="write the result there instead of to stdout"
    )
    parser.add_argument(
        "--http-timeout",
        metavar="SECONDS",
        type=_parse_seconds,
        default=DEFAULT_HTTP_TIMEOUT_SECONDS,
        help="longest wait for one answer (default: %(default)s)",
    )
    parser.add_argument(
        "--keep-objects", action="store_true", help="leave input, result and log in the S3 bucket"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress on stderr")
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _parse_seconds(text: str) -> int:
    seconds = parse_number(text, LONGEST_HTTP_TIMEOUT_SECONDS)
    if not seconds:
        raise argparse.ArgumentTypeError(
            f"must be a whole number of seconds from 1 to {LONGEST_HTTP_TIMEOUT_SECONDS}"
        )
    return seconds
