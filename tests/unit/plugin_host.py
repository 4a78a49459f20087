# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin in the fake host of fake_host.c, beside a worker that a test writes."""

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spank_qrmi.answer import AnswerWriter
from spank_qrmi.protocol import Request, Verdict
from tests.unit.conversation import in_pieces, read_request
from tests.unit.outcomes import trying

BATCH_STEP = 0xFFFFFFFB
INTERACTIVE_STEP = 0xFFFFFFFA
EXTERN_STEP = 0xFFFFFFFC
RUNNING = "1"
CANCELLED = "4"
FALLBACK = b"SLURM_SPANK__SLURM_SPANK_OPTION_spank_qrmi_qpu"
HOLD_FALLBACK = b"SLURM_SPANK__SLURM_SPANK_OPTION_spank_qrmi_qpu_hold"
CONFIG = "/etc/slurm/qrmi_config.json"
PATIENCE_SECONDS = 60

JOB: Mapping[str, object] = {
    "job_id": 7,
    "step_id": BATCH_STEP,
    "uid": 1000,
    "time_limit": 60,
    "start_time": 1_700_000_000,
}

TIMES = ("before", "after")
LISTS = tuple(f"{of}_JOB_QPU_{what}" for of in ("QRMI", "SLURM") for what in ("RESOURCES", "TYPES"))
"""What tells a job of its QPUs: in the lists of newer clients one with two names stands twice."""

# What every step has that asked for a QPU, while an answer sets nothing else.
NOTHING_HELD = {**dict.fromkeys(map(str.encode, LISTS), b""), b"SLURM_QRMI_JOB_ID": b"7"}

VALGRIND = (
    *("valgrind", "--quiet", "--leak-check=full", "--errors-for-leak-kinds=definite"),
    "--error-exitcode=99",
)
needs_valgrind = pytest.mark.skipif(
    shutil.which("valgrind") is None, reason="valgrind is not installed"
)

Order = str | int | bytes | Sequence[str | bytes]


@dataclass(frozen=True)
class Report:
    """What the host saw, in order, as (kind, text)."""

    lines: tuple[tuple[str, bytes], ...]

    def all(self, kind: str) -> list[bytes]:
        return [text for each, text in self.lines if each == kind]

    def texts(self, kind: str) -> list[str]:
        return [text.decode("utf-8", "surrogateescape") for text in self.all(kind)]

    @property
    def variables(self) -> dict[bytes, bytes]:
        """What was set in the job, tasks apart; the last value of each."""
        pairs = (text.partition(b"=") for text in self.all("set"))
        return {name: value for name, _, value in pairs}

    @property
    def left_open(self) -> int:
        """How many descriptors were opened in one hook and closed in another; none stays open."""
        before, after = (Counter(self.texts(f"descriptor-{when}")) for when in TIMES)
        opened, closed = (
            sorted(text.partition(": ")[2] for text in (each - other).elements())
            for each, other in ((after, before), (before, after))
        )
        assert opened == closed
        return len(opened)

    @property
    def task_statuses(self) -> list[int]:
        return [int(text) for text in self.all("task")]

    @property
    def shown_to_user(self) -> list[str]:
        """The errors of the tasks: what a user reads in the job's own output."""
        return self.logged("error", by="task-")

    def logged(self, level: str, by: str = "") -> list[str]:
        texts = self.texts(f"{by}log-{level}")
        return [re.sub(r"^spank_(qrmi_c|ibm_qrun): ", "", text) for text in texts]


class PluginHost:
    """Runs the plugin in a folder of its own."""

    def __init__(self, folder: Path, program: Path, plugin: Path) -> None:
        self.folder = folder
        self.program = program
        self.plugin = folder / plugin.name
        self.link = folder / "spank_qrmi.python"
        self.worker = folder / "worker"
        # The socket by which a task tells of a quantum job.
        self.may_leave_open = int(plugin.name == "spank_ibm_qrun.so")
        shutil.copy(plugin, folder)

    def play(self, script: str) -> None:
        """Make a shell script the worker; its own folder is "${0%/*}"."""
        self._become(f'#!/bin/sh\nfolder="${{0%/*}}"\n{script}\n')

    def answer(self, message: bytes, then: str = "") -> None:
        """Make a worker that answers with these bytes whatever it is asked, and then does more."""
        (self.folder / "answer").write_bytes(message)
        self.play(f'cat "$folder/answer"\n{then}')

    def answer_once(self, message: bytes, then: str) -> None:
        """Make a worker that answers with these bytes, and the next time does something else."""
        (self.folder / "answer").write_bytes(message)
        self.play(f'[ -e "$folder/asked" ] && {then}\n>"$folder/asked"; cat "$folder/answer"')

    def note_starts(self) -> None:
        """Make a worker that gives no answer, of which it is known that it was started."""
        self.play('>"$folder/started"; exit 1')

    @property
    def was_started(self) -> bool:
        return (self.folder / "started").exists()

    def play_python(self, program: str) -> None:
        """Make a Python program the worker; `folder` and `channel` are defined in it."""
        self._become(
            f"#!{sys.executable} -I\n"
            "import os, socket\nfrom pathlib import Path\n"
            "folder = Path(__file__).parent\nchannel = socket.socket(fileno=os.dup(0))\n" + program
        )

    def _become(self, script: str) -> None:
        self.worker.write_text(script)
        self.worker.chmod(0o755)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(self.worker)

    def answer_and_keep(self, message: bytes) -> None:
        """Make a worker that reads its request to the end, keeps it, and answers."""
        (self.folder / "answer").write_bytes(message)
        self.play_python(
            "received = b''\n"
            "while not received.endswith(b'.\\0\\0\\0\\0'):\n"
            "    received += channel.recv(1 << 20) or exit('the plugin has hung up')\n"
            "turn = len(list(folder.glob('request-*')))\n"
            "(folder / f'request-{turn}').write_bytes(received)\n"
            "channel.sendall((folder / 'answer').read_bytes())\n"
        )

    def request_of(self, **orders: Any) -> Request:
        """Run a step whose QPUs hold nothing; return all that its plugin asked."""
        self.answer_and_keep(answer_of())
        self.run(**orders)
        [request] = self.requests
        return request

    @property
    def requests(self) -> list[Request]:
        paths = sorted(self.folder.glob("request-*"))
        return [read_request(in_pieces(path.read_bytes(), 1 << 20)) for path in paths]

    def run_in_valgrind(self, **orders: Any) -> Report:
        """Run one step's life, in which valgrind must find nothing wrong."""
        log = self.folder / "valgrind"
        report = self.run(under=[*VALGRIND, f"--log-file={log}"], **orders)
        assert log.read_text() == ""
        return report

    def run(
        self,
        *,
        under: Sequence[str] = (),
        words: Sequence[str] = (),
        ends_command: bool = False,
        **orders: Order,
    ) -> Report:
        """Run one step's life; orders are those of fake_host.c, over those of a batch step.

        `words` stand on the host's own command line. With `ends_command`, a hook ends the process,
        as one may that a user's command has loaded.
        """
        orders = {"options": "a", "arguments": CONFIG, "states": RUNNING, **JOB, **orders}  # type: ignore[dict-item]
        message = b""
        for key, order in orders.items():
            for value in [order] if isinstance(order, str | int | bytes) else order:
                text = value if isinstance(value, bytes) else os.fsencode(str(value))
                message += b"%b=%b\0" % (key.encode(), text)
        ended = subprocess.run(
            [*under, str(self.program), str(self.plugin), *words],
            input=message,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            cwd=self.folder,
            env={**os.environ, "HOST": "unchanged"},
        )
        assert (ended.returncode, ended.stderr.decode()) == (int(ends_command), "")
        lines = (line.partition(b":") for line in ended.stdout.split(b"\0")[:-1])
        report = Report(tuple((kind.decode(), text) for kind, _, text in lines))
        if ends_command:
            return report
        # Whatever a test is about: slurmstepd must come out of each hook as it went in.
        assert report.all("children") == [b"0"]
        # A task that is refused ends in its hook.
        for by in ("", "task-") if not any(report.task_statuses) else ("",):
            before, after = (sorted(report.all(f"{by}state-{when}")) for when in TIMES)
            assert before == after
        assert report.left_open <= self.may_leave_open
        assert [text for text in report.texts("hook") if not text.endswith(" 0")] == []
        return report


def answer_of(
    *,
    verdict: Verdict = Verdict.RUN,
    held: int = 0,
    variables: Sequence[tuple[str, str]] = (),
    messages: Sequence[str] = (),
    logs: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Return an answer as the worker writes it."""
    sent = bytearray()
    writer = AnswerWriter(sent.extend)
    for level, text in logs:
        writer.log(logging.getLevelName(level.upper()), text)
    for message in messages:
        writer.send_message(message)
    writer.send_variables(variables)
    writer.end(verdict, held)
    return bytes(sent)


def told_to_user(failure: str) -> str:
    """Return the line for a worker that gave no answer."""
    return (
        f"--qpu: the QPU worker on this node {failure}; tell the administrator: spank-qrmi check "
        "and slurmd's log say more"
    )


@contextmanager
def fresh(host: PluginHost, what: object) -> Iterator[PluginHost]:
    """Lend a host in a folder of its own; whatever fails there names the input."""
    with trying(what):
        yield PluginHost(Path(tempfile.mkdtemp(dir=host.folder)), host.program, host.plugin)
