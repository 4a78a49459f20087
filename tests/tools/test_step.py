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


def run(log: Path, program: str, verbose: str = "") -> tuple[int, str, str]:
    """Return status, output and errors of a step whose command is a program in Python."""
    words = (sys.executable, SCRIPT, "--log", log, "a step", sys.executable, "-c", program)
    done = ended(*words, env=os.environ | {"VERBOSE": verbose})
    return done.returncode, done.stdout, done.stderr


def test_what_a_step_writes_is_in_the_log_and_shown_if_it_fails_or_on_request(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log" / "step.log"
    assert run(log, NOISY.format(7), verbose="1") == (7, "a step\nout\n", "err\n")
    assert not log.exists()
    assert run(log, NOISY.format(0)) == (0, "a step\n", "")
    assert sorted(log.read_text().splitlines()) == ["err", "out"]
    status, output, errors = run(log, "for i in range(90): print(i, chr(27))\nraise SystemExit(7)")
    assert (status, output) == (7, "a step\n")
    assert errors.splitlines() == [
        *(f"{number} " for number in range(90 - step.LAST_LINES, 90)),
        f"error: a step: failed; all of it is in {log}",
    ]


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
