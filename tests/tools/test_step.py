# SPDX-License-Identifier: GPL-3.0-or-later
"""A step of `make` is one line, and its log is told where it fails."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import step
from tests.tools.programs import ended

SCRIPT = Path(step.__file__)
NOISY = "import sys; print('out'); print('err', file=sys.stderr); sys.exit({})"


def run(log: Path, program: str, **variables: str) -> tuple[int, str, str]:
    """Return status, output and errors of a step whose command is a program in Python."""
    words = (sys.executable, SCRIPT, "--log", log, "a step", sys.executable, "-c", program)
    done = ended(*words, env=os.environ | {"VERBOSE": ""} | variables)
    return done.returncode, done.stdout, done.stderr


def test_what_a_step_writes_is_in_the_log_and_shown_if_it_fails_or_on_request(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log" / "step.log"
    assert run(log, NOISY.format(7), VERBOSE="1") == (7, "a step\nout\n", "err\n")
    assert not log.exists()
    assert run(log, NOISY.format(0)) == (0, "a step\n", "")
    assert sorted(log.read_text().splitlines()) == ["err", "out"]
    status, output, errors = run(log, "for i in range(90): print(i, chr(27))\nraise SystemExit(7)")
    assert (status, output) == (7, "a step\n")
    assert errors.splitlines() == [
        *(f"{number} " for number in range(90 - step.LAST_LINES, 90)),
        f"error: a step: failed; all of it is in {log}",
    ]
    # A signal of the command is the status of a shell.
    assert run(log, "import os; os.kill(os.getpid(), 9)")[0] == 137


@pytest.mark.parametrize("is_terminal", [False, True])
def test_step_that_takes_long_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    """The command ends when that has been told twice."""
    told = tmp_path / "told"
    program = (
        "import pathlib, time\nprint('downloading', flush=True)\n"
        f"while pathlib.Path({str(told)!r}).read_text().count('downloading') < 2:\n"
        "    time.sleep(0.01)\n"
    )
    monkeypatch.delenv("VERBOSE", raising=False)
    monkeypatch.setattr(step, "QUIET_SECONDS", 0.01)
    monkeypatch.setattr(step, "TERMINAL_SECONDS", 0.01)
    with told.open("w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        monkeypatch.setattr(output, "isatty", lambda: is_terminal, raising=False)
        step.run("a step", [sys.executable, "-c", program], tmp_path / "log")
    text = told.read_bytes().decode()
    assert "  0 s  downloading" in text
    assert text.endswith(step.CLEAR if is_terminal else "downloading\n")
    assert text.count("\n") == 1 if is_terminal else "\r" not in text


@pytest.mark.parametrize("number", step.ENDING)
def test_no_process_of_a_step_outlives_it(tmp_path: Path, number: signal.Signals) -> None:
    """The shell that runs several commands would leave the one that runs."""
    log = tmp_path / "log"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with (
        subprocess.Popen(
            [sys.executable, SCRIPT, "--log", log, "a step", "sh", "-c", f"sleep 60 >{pipe}; true"],
            stdout=subprocess.DEVNULL,
        ) as process,
        pipe.open() as reader,
    ):
        process.send_signal(number)
        assert process.wait(30) == 128 + number
        # The end of the last process that has it open.
        assert reader.read() == ""


def test_signal_that_is_ignored_ends_no_step(tmp_path: Path) -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        step.run("a step", ["sh", "-c", f"kill -HUP {os.getpid()}"], tmp_path / "log")
    finally:
        assert signal.signal(signal.SIGHUP, former) is signal.SIG_IGN


def test_character_that_the_locale_or_every_locale_lacks_ends_no_step(tmp_path: Path) -> None:
    program = "import os; os.write(1, chr(0x2018).encode() + bytes([255])); raise SystemExit(7)"
    status, _, errors = run(tmp_path / "log", program, PYTHONIOENCODING="ascii")
    assert (status, errors.splitlines()[0]) == (7, "??")
