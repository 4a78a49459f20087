# SPDX-License-Identifier: GPL-3.0-or-later
"""One step of `make`, told by one line; what its command writes goes to a log.

    python3 scripts/step.py --log FILE TEXT COMMAND…

While it takes long, a terminal shows its seconds and the log's last line, and anything else gets a
line now and then. Of a command that fails, the log's last lines and its path are told. With
VERBOSE=1 in the environment all of it is shown instead. Needs only the standard library.
"""

# So that a Python which is too old gets as far as being told so.
from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

LOGS = Path(__file__).resolve().parents[1] / "build" / "log"
LAST_LINES = 20
TERMINAL_SECONDS = 1.0
QUIET_SECONDS = 30.0
# What a log's end is looked for in.
TAIL_BYTES = 8192
CLEAR = "\x1b[K"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Run one step; end with its command's exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("text")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    run(options.text, options.command, options.log)


def run(text: str, command: Sequence[object], log: Path) -> None:
    """Tell a step and run its command; end with its exit status if it fails."""
    words = [str(word) for word in command]
    print(text, flush=True)
    if os.environ.get("VERBOSE"):
        status = _status_of(words)
    else:
        with _opened(log) as output:
            status = _status_of(words, log, output)
        if sys.stdout.isatty():
            print(CLEAR, end="", flush=True)
        if status != 0:
            print("\n".join(last_lines(log, LAST_LINES)), file=sys.stderr)
            print(f"error: {text}: failed; all of it is in {log}", file=sys.stderr)
    if status != 0:
        sys.exit(status if status > 0 else 128 - status)


def _opened(log: Path) -> IO[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("wb")
    except OSError as error:
        sys.exit(f"error: {log} cannot be written: {error.strerror}; is what was built another's?")


def _status_of(
    words: Sequence[str], log: Path | None = None, output: IO[bytes] | None = None
) -> int:
    """Run a command; return its status, below 0 for a signal.

    A signal that ends this is handed on to all processes of the command, and waits for it.
    """
    errors = None if output is None else subprocess.STDOUT
    with _handing_on() as command:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            sys.exit(f"error: {words[0]} cannot be started: {error.strerror}")
        command.start(process.pid)
        with process:
            status = process.wait() if log is None else _watch(process, log)
    if command.signals:
        sys.exit(128 + command.signals[0])
    return status


class _Command:
    """The process group of a command, and the signals that came while it ran."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        self._group: int | None = None

    def start(self, group: int) -> None:
        """Know the group; end it if a signal came before it was known."""
        self._group = group
        if self.signals:
            self._end()

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Be the handler of a signal."""
        self.signals.append(number)
        self._end()

    def _end(self) -> None:
        if self._group is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._group, signal.SIGTERM)


@contextmanager
def _handing_on() -> Iterator[_Command]:
    """Yield what receives the signals that end a process, unless they are ignored."""
    command = _Command()
    former = {each: signal.getsignal(each) for each in ENDING}
    for each, handler in former.items():
        if handler is not signal.SIG_IGN:
            signal.signal(each, command.receive)
    try:
        yield command
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)


def _watch(process: subprocess.Popen[bytes], log: Path) -> int:
    """Tell now and then how far a command is; return its status when it has ended."""
    is_terminal = sys.stdout.isatty()
    interval = TERMINAL_SECONDS if is_terminal else QUIET_SECONDS
    started = time.monotonic()
    while True:
        try:
            return process.wait(interval)
        except subprocess.TimeoutExpired:
            line = progress(time.monotonic() - started, log)
            print(f"{CLEAR}{line}" if is_terminal else line, end="\r" if is_terminal else "\n")
            sys.stdout.flush()


def progress(seconds: float, log: Path) -> str:
    """Return a line that fits the terminal: how long it has taken, and what was written last."""
    last = "".join(last_lines(log, 1)).strip()
    return f"  {seconds:.0f} s  {last}"[: shutil.get_terminal_size().columns - 1]


def last_lines(log: Path, count: int) -> list[str]:
    """Return a log's last lines that are not empty, in characters that can be printed."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    # A locale that lacks a character must not end the step.
    encoding = sys.stdout.encoding
    text = text.encode(encoding, "replace").decode(encoding)
    lines = ["".join(each for each in line if each.isprintable()) for line in text.splitlines()]
    return [line for line in lines if line.strip()][-count:]


if __name__ == "__main__":
    main()
