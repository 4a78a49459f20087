# SPDX-License-Identifier: GPL-3.0-or-later
"""What qrun shows while it waits; nothing in it may steer a terminal or show a secret."""

import io
import re

from spank_qrmi.qrun.progress import Progress
from spank_qrmi.redaction import Redactor

SECRET = "very-secret"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def progress_on(stream: io.StringIO, *, is_quiet: bool = False) -> Progress:
    redactor = Redactor()
    redactor.add([SECRET])
    return Progress(stream, redactor, is_quiet=is_quiet)


def test_state_is_told_once_and_the_services_log_keeps_its_lines() -> None:
    stream = io.StringIO()
    progress = progress_on(stream)
    for state in ("Running", "Running", f"Odd\x1b[2J {SECRET}\n", "Running"):
        progress.state(state)
    progress.service_log(f"a\tb\r\n\x1b]0;title\x07\n{SECRET}")
    assert stream.getvalue() == (
        "qrun: Running\nqrun: Odd?[2J ****?\nqrun: Running\na       b\n?]0;title?\n****\n"
    )


def test_quiet_leaves_errors_and_the_services_log() -> None:
    stream = Terminal()
    progress = progress_on(stream, is_quiet=True)
    progress.state("Running")
    progress.note("by the way")
    progress.error("broken")
    progress.service_log("one\n")
    assert stream.getvalue() == "qrun: broken\none\n"


def test_live_line_is_short_and_gives_way() -> None:
    stream = Terminal()
    progress = progress_on(stream)
    progress.state("Running " + "x" * 200)
    progress.error("broken")
    live, rest = stream.getvalue().split("\r\x1b[K")[1:]
    assert re.fullmatch(r"qrun: Running x{62} \(0:0\d\)", live)
    assert rest == "qrun: broken\n"
    # A stream that is gone does no harm.
    stream.close()
    progress.state("Running")
    progress.error("broken")
