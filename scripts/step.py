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
from collections.abc import Sequence
from pathlib import Path
from typing import IO

LOGS = Path(__file__).resolve().parents[1] / "build" / "log"
LAST_LINES = 20
TERMINAL_SECONDS = 1.0
QUIET_SECONDS = 30.0
# What a log's end is looked for in.
TAIL_BYTES = 8192
CLEAR = "\x1b[K"


def main() -> None:
    """Run one step; end with its command's exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("text")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    # What make is told to end, its commands must not outlive.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        run(options.text, options.command, options.log)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


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
    """Run a command, which does not outlive this; return its status, below 0 for a signal."""
    errors = None if output is None else subprocess.STDOUT
    try:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
    except OSError as error:
        sys.exit(f"error: {words[0]} cannot be started: {error.strerror}")
    with process:
        try:
            return process.wait() if log is None else _watch(process, log)
        except BaseException:
            process.terminate()
            raise


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
    """Return a log's last lines that are not empty, without control characters."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    lines = ["".join(each for each in line if each.isprintable()) for line in text.splitlines()]
    return [line for line in lines if line.strip()][-count:]


if __name__ == "__main__":
    main()
