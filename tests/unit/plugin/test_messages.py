# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plugin makes of workers that fail, and of answers that nobody should trust."""

import ast
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from spank_qrmi.configuration.qrmi_plugstack import parse_arguments
from spank_qrmi.protocol import MAX_PAYLOAD_BYTES, PREAMBLE, AnswerTag, Verdict, encode_record
from tests.unit.conversation import joined
from tests.unit.open_descriptors import OPEN_DESCRIPTORS
from tests.unit.plugin_host import (
    CONFIG,
    NOTHING_HELD,
    PluginHost,
    Report,
    answer_of,
    fresh,
    needs_valgrind,
    told_to_user,
)

CONTINUE = [CONFIG, "--on-failure=continue"]
SHORTEST_TIMEOUT = [CONFIG, "--acquire-timeout=1", "--release-timeout=1"]
UNREADABLE = "gave an answer that cannot be read"
TOO_LATE = "did not answer in time"
HELD = (b"n", b"0")
RUN = (b"v", b"run")
END = (b".", b"")
UID = ("QRMI_JOB_UID", "1")
# The plugin gives a killed worker 2 s to end; on a busy machine that may take some milliseconds.
FAST = 5


def check_failed(report: Report, failure: str) -> None:
    """Check that the job failed with one readable line, which Slurm writes to the log too."""
    assert report.shown_to_user == [told_to_user(failure)]
    assert report.task_statuses == [1]
    assert report.logged("error") == []
    assert report.variables == NOTHING_HELD


def answer_with(*records: tuple[bytes, bytes]) -> bytes:
    """Return an answer that would be a good one without these records."""
    return joined([*records, HELD, RUN, END])


def with_count(*counts: bytes) -> bytes:
    return joined([*((b"n", count) for count in counts), RUN, END])


def with_verdict(*verdicts: bytes) -> bytes:
    return joined([HELD, *((b"v", verdict) for verdict in verdicts), END])


MALFORMED: Mapping[str, Mapping[str, bytes]] = {
    "preamble": {
        "wrong preamble": b"QRMJ" + answer_of()[4:],
        "another version": b"QRMI\x02" + answer_of()[5:],
        "text": b"Traceback (most recent call last):\n",
        "zeros": b"\0" * 100,
        "ones": b"\xff" * 100,
    },
    "length": {
        "longest length": PREAMBLE + b"g\xff\xff\xff\xff",
        "too long a length": PREAMBLE + b"g" + (MAX_PAYLOAD_BYTES + 1).to_bytes(4, "big"),
    },
    "NUL": {
        "NUL in a variable": answer_with((b"e", b"A=\0")),
        "NUL in a name": answer_with((b"e", b"\0A=1")),
        "NUL in a message": answer_with((b"m", b"a\0b")),
        "NUL in a log line": answer_with((b"g", b"ea\0b")),
        "NUL as level": answer_with((b"g", b"\0a")),
        "NUL in the verdict": with_verdict(b"run\0"),
    },
    "variable": {
        repr(variable[:20]): answer_with((b"e", variable))
        for variable in (
            *(b"A", b"", b"=1", b"A B=1", b"A\n=1", b"\x01A=1", b"A\x7f=1"),
            b"N" * 256 + b"=1",
        )
    },
    "line": {"no message": answer_with((b"m", b"")), "no log record": answer_with((b"g", b""))},
    "verdict": {
        repr(verdicts): with_verdict(*verdicts)
        for verdicts in ([b"run", b"run"], [b"run", b"fail"], [b"Run"], [b""], [])
    },
    "count": {
        repr(counts): with_count(*counts)
        for counts in ([], [b"0", b"0"], [b""], [b"-1"], [b"1 "], [b"1000000"])
    },
    "end": {
        "end with a payload": joined([HELD, RUN, (b".", b"x")]),
        "byte after the end": answer_of() + b"x",
        "two answers": answer_of() * 2,
    },
}


@pytest.mark.parametrize("messages", MALFORMED.values(), ids=MALFORMED)
def test_malformed_answer_fails_the_job(host: PluginHost, messages: Mapping[str, bytes]) -> None:
    for what, message in messages.items():
        with fresh(host, what) as each:
            each.answer(message)
            check_failed(each.run(), UNREADABLE)


def test_answer_cut_anywhere_fails_the_job(host: PluginHost) -> None:
    whole = answer_of(held=1, variables=[UID], messages=["text"], logs=[("debug", "logged")])
    for length in range(len(whole)):
        host.answer(whole[:length])
        check_failed(host.run(), "ended before it had answered")


def test_answer_in_single_bytes_is_understood(host: PluginHost) -> None:
    (host.folder / "answer").write_bytes(answer_of(variables=[UID], messages=["text"]))
    host.play('dd if="$folder/answer" bs=1 2>/dev/null')
    report = host.run()
    assert (report.variables[b"QRMI_JOB_UID"], report.shown_to_user) == (b"1", ["text"])


@pytest.mark.parametrize(
    ("tag", "start"), [(AnswerTag.LOG, b"d"), (AnswerTag.VARIABLE, b"A="), (AnswerTag.MESSAGE, b"")]
)
def test_endless_answer_is_cut_off(host: PluginHost, tag: AnswerTag, start: bytes) -> None:
    (host.folder / "record").write_bytes(encode_record(tag, start + b"x" * 200_000))
    (host.folder / "answer").write_bytes(PREAMBLE)
    host.play('cat "$folder/answer"\nwhile cat "$folder/record"; do :; done')
    report = host.run()
    check_failed(report, UNREADABLE)
    assert len(report.logged("debug")) < 2 * 8 * 1024 * 1024 / 200_000 + 20


def test_records_of_a_newer_worker_are_skipped(host: PluginHost) -> None:
    more = [(b"?", b"a\nb"), (b"\0", b""), (b"\xff", b"x")]
    host.answer(joined([*more, (b"e", b"QRMI_JOB_UID=1"), *more, HELD, RUN, *more, END]))
    report = host.run()
    assert (report.shown_to_user, report.variables[b"QRMI_JOB_UID"]) == ([], b"1")


def test_nothing_of_a_malformed_answer_is_set(host: PluginHost) -> None:
    records = [(b"e", b"QRMI_JOB_UID=1"), (b"m", b"a message"), HELD, RUN, (b"e", b""), END]
    host.answer(joined(records))
    report = host.run(arguments=CONTINUE)
    assert report.variables == NOTHING_HELD
    assert report.shown_to_user == [told_to_user(UNREADABLE)]
    assert report.task_statuses == [0]


SHOWN = {
    b"a\nb\rc\td\x1b[31m\x7f": "a?b?c?d?[31m?",
    b"%s%n%d %% 100%": "%s%n%d %% 100%",
    "ü".encode() + b"\xff": "ü?",
    b"x" * 200_000: "x" * 200_000,
}


def test_text_is_shown_as_it_is_without_control_characters(host: PluginHost) -> None:
    for sent, shown in SHOWN.items():
        host.answer(answer_with((b"m", sent), (b"g", b"i" + sent)))
        report = host.run()
        assert (report.shown_to_user, report.logged("info")) == ([shown], [shown])


def test_level_of_a_record_is_no_part_of_its_text(host: PluginHost) -> None:
    level, rest = "ü".encode()[:1], "ü".encode()[1:]
    host.answer(answer_with((b"g", level + rest + b"text")))
    assert "?text" in host.run().logged("debug")


def prepare_targets(folder: Path) -> None:
    """Make what a link may lead to instead of an interpreter."""
    (folder / "plain").write_text("not executable")
    (folder / "nonsense").write_text("no program")
    (folder / "nonsense").chmod(0o755)
    (folder / "environment").symlink_to("python3")
    (folder / "python3").symlink_to(folder / "removed")


SHOULD_BE_A_LINK = "spank_qrmi.python should be a link to its Python interpreter"
UNUSABLE_TARGETS = {
    "nothing": "{folder}/nothing: No such file or directory",
    "environment": "{folder}/environment leads to {folder}/removed, which is missing: install that "
    "Python again, or the plugin with another one",
    "plain": "{folder}/plain: Permission denied",
    ".": "{folder}: Permission denied",
    "nonsense": "{folder}/nonsense: Exec format error",
}


def test_worker_that_cannot_be_started_is_named(host: PluginHost) -> None:
    not_found = f"cannot be found: {host.folder}/{SHOULD_BE_A_LINK}"
    check_failed(host.run(), f"{not_found} (No such file or directory)")
    host.link.write_text("no link")
    check_failed(host.run(), f"{not_found} (Invalid argument)")
    prepare_targets(host.folder)
    for target, expected in UNUSABLE_TARGETS.items():
        host.link.unlink()
        host.link.symlink_to(host.folder / target)
        check_failed(host.run(), f"cannot be started: {expected.format(folder=host.folder)}")


def test_worker_that_dies_fails_the_job(host: PluginHost) -> None:
    for script, failure in {
        "exit 0": "ended",
        "exit 1": "ended with status 1",
        "kill -9 $$": "was ended by signal 9",
        "kill -11 $$": "was ended by signal 11",
        "cat >/dev/null & exit 2": "ended with status 2",
    }.items():
        host.play(script)
        check_failed(host.run(), f"{failure} before it had answered")


# A worker that hangs does so once: the release that follows would take the same time again.
ONCE = '[ -e "$folder/asked" ] && exit\n>"$folder/asked"\n'


@pytest.mark.parametrize(
    "script",
    [
        "exec sleep 1000",
        "trap '' TERM HUP INT; while :; do sleep 1000; done",
        "cat >/dev/null",
        "exec yes complaint >&2",
        'printf "QRMI"; exec sleep 1000',
        "exec 2>&-; exec sleep 1000",
    ],
)
def test_worker_that_never_answers_fails_the_job(host: PluginHost, script: str) -> None:
    host.play(f"{ONCE}{script}")
    check_failed(host.run(arguments=SHORTEST_TIMEOUT, speed=FAST), TOO_LATE)


def test_worker_that_reads_nothing_fails_the_job(host: PluginHost) -> None:
    host.play("exec sleep 1000")
    variables = [b"a%d_QRMI_L=" % number + b"x" * 200_000 for number in range(20)]
    report = host.run(arguments=SHORTEST_TIMEOUT, speed=FAST, environment=variables)
    check_failed(report, TOO_LATE)


def test_worker_that_hangs_up_and_stays_is_ended(host: PluginHost) -> None:
    host.play("exec 0<&- 1>&-; exec sleep 1000")
    report = host.run(speed=FAST)
    assert (len(report.shown_to_user), report.task_statuses) == (1, [1])


def test_worker_that_stays_after_its_answer_is_ended(host: PluginHost) -> None:
    host.answer(answer_of(messages=["text"]), 'echo $$ >"$folder/pid"; exec sleep 1000')
    report = host.run(speed=FAST)
    assert (report.shown_to_user, report.task_statuses) == (["text"], [0])
    assert is_gone(int((host.folder / "pid").read_text()))


def test_processes_of_a_worker_are_ended_too(host: PluginHost) -> None:
    host.play('sleep 1000 & echo $! >"$folder/pid"; exec sleep 1000')
    host.run(arguments=SHORTEST_TIMEOUT, speed=FAST)
    assert is_gone(int((host.folder / "pid").read_text()))
    host.answer(answer_of(), 'sleep 1000 & echo $! >"$folder/pid"')
    assert host.run().task_statuses == [0]
    assert is_gone(int((host.folder / "pid").read_text()))


def is_gone(pid: int) -> bool:
    """Return whether a process has ended; its new parent may not have reaped it yet."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in {"Z", "X"}:
            return True
    return False


def test_what_a_worker_complains_about_is_logged(host: PluginHost) -> None:
    host.play("printf 'Traceback\\n  ValueError: %%s%%n\\033' >&2; exit 1")
    report = host.run()
    check_failed(report, "ended with status 1 before it had answered")
    assert report.logged("info")[0] == "worker: Traceback?  ValueError: %s%n?"


def test_long_complaint_keeps_its_end(host: PluginHost) -> None:
    host.play('i=0; while [ $i -lt 2000 ]; do echo "line $i" >&2; i=$((i+1)); done; exit 1')
    [complaint, *_] = host.run().logged("info")
    assert complaint.endswith("1999?")
    assert len(complaint) < 1100


def test_job_may_go_on_without_a_worker(host: PluginHost) -> None:
    for script in ("exit 1", "printf nonsense"):
        host.play(script)
        report = host.run(arguments=CONTINUE)
        assert (report.task_statuses, len(report.shown_to_user)) == ([0], 1), script
        assert report.variables == NOTHING_HELD, script


def test_last_choice_counts_for_plugin_and_worker_alike(host: PluginHost) -> None:
    host.play("exit 1")
    for choices in (["fail", "continue"], ["continue", "fail"]):
        arguments = [CONFIG, *(f"--on-failure={choice}" for choice in choices)]
        expected = int(parse_arguments(arguments).fails_on_failure)
        assert host.run(arguments=arguments).task_statuses == [expected], choices


def test_answer_counts_even_if_the_worker_then_fails(host: PluginHost) -> None:
    host.answer(answer_of(variables=[UID]), "exit 3")
    report = host.run()
    assert (report.variables[b"QRMI_JOB_UID"], report.task_statuses) == (b"1", [0])


# A worker that writes down what it finds; Python opens nothing of its own meanwhile.
CURIOUS_WORKER = (
    OPEN_DESCRIPTORS
    + """
links = open_descriptors()
del links[channel.fileno()]
seen = {
    "links": sorted(links.items()),
    "environment": sorted(Path("/proc/self/environ").read_text().split("\\0")),
    "command": Path("/proc/self/cmdline").read_text().split("\\0")[2:-1],
    "leads its session": os.getsid(0) == os.getpid(),
    "status": dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines()),
}
(folder / "seen").write_text(repr(seen))
channel.sendall((folder / "answer").read_bytes())
"""
)


@pytest.mark.parametrize("closed", [[], ["0"], ["1"], ["2"], ["0", "1", "2"]])
def test_worker_inherits_nothing(host: PluginHost, closed: list[str]) -> None:
    (host.folder / "answer").write_bytes(answer_of())
    host.play_python(CURIOUS_WORKER)
    assert host.run(closed=closed).task_statuses == [0]
    seen = ast.literal_eval((host.folder / "seen").read_text())
    assert seen["links"] == [(0, "socket"), (1, "socket"), (2, "pipe")]
    assert seen["environment"] == ["", "LC_ALL=C.UTF-8", "PATH=/usr/bin:/bin"]
    assert seen["command"] == [str(host.worker), "-I", "-m", "spank_qrmi.worker"]
    assert seen["leads its session"]
    blocked = int(seen["status"]["SigBlk"], 16)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCONT):
        assert blocked >> (number - 1) & 1, "Slurm's signals are for the job's tasks"
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
        assert not blocked >> (number - 1) & 1, "a crash must end the worker"
    # The host ignores SIGUSR1; what Python itself ignores says nothing.
    assert not int(seen["status"]["SigIgn"], 16) >> (signal.SIGUSR1 - 1) & 1


@needs_valgrind
@pytest.mark.parametrize(
    ("message", "orders", "statuses"),
    [
        (answer_of(held=1, variables=[UID], messages=["x"], logs=[("error", "y")]), {}, [0, 0]),
        (
            answer_of(verdict=Verdict.FAIL, messages=["text"]),
            {"step_id": 3, "second_options": ["job", "step"]},
            [1, 1],
        ),
        (answer_of(variables=[("A", "x" * 200_000)])[:-1], {}, [1, 1]),
        (
            joined([(b"e", b"QRMI_JOB_UID=1"), (b"m", b"text"), (b"?", b"")]),
            {"step_id": 3},
            [1, 1],
        ),
        (None, {}, [1, 1]),
        (None, {"second_options": "step"}, [0, 0]),
        (None, {"second_options": "x" * 60_000}, [1, 1]),
    ],
    ids=["held", "fail", "cut", "malformed", "no worker", "held by steps", "held by nobody"],
)
def test_memory_is_used_as_it_should(
    host: PluginHost, message: bytes | None, orders: dict[str, Any], statuses: list[int]
) -> None:
    if message is not None:
        host.answer(message)
    environment = ["a_QRMI_X=1", "SLURM_JOB_QPU_RESOURCES=old", "RUST_LOG=info"]
    step = {"tasks": 2, "environment": environment, "options": ["a", "b"], **orders}
    assert host.run_in_valgrind(**step).task_statuses == statuses


@needs_valgrind
@pytest.mark.parametrize(
    ("option", "message", "status"),
    [
        ("c, a", None, 0),
        (",b ,d", answer_of(held=1, variables=[("d_QRMI_X", "1")], messages=["x"]), 0),
        ("x" * 60_000, None, 1),
    ],
    ids=["held by the job", "acquired besides", "no worker"],
)
def test_memory_of_a_step_that_shares(
    host: PluginHost, option: str, message: bytes | None, status: int
) -> None:
    if message is not None:
        host.answer(message)
    lists = ("SLURM_JOB_QPU_RESOURCES=a,b,c", "SLURM_JOB_QPU_TYPES=one,two,three")
    inside: dict[str, Any] = {"step_id": 0, "environment": ["SLURM_QRMI_JOB_ID=7", *lists]}
    assert host.run_in_valgrind(options=option, **inside).task_statuses == [status]
