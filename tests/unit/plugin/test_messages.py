# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plugin makes of workers that fail, and of answers that nobody should trust."""

import ast
from itertools import permutations, product
from typing import Any

import pytest

from loopback.processes import command_line
from loopback.waiting import wait_until
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

CHOICES = ("--on-failure=fail", "--on-failure=continue")
SHORTEST_TIMEOUT = [CONFIG, "--acquire-timeout=1", "--release-timeout=1"]
UNREADABLE = "gave an answer that cannot be read"
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


MALFORMED = [
    # What is no answer, or one of another version.
    *(b"QRMJ" + answer_of()[4:], b"QRMI\x02" + answer_of()[5:]),
    # Lengths that are too long.
    PREAMBLE + b"g\xff\xff\xff\xff",
    PREAMBLE + b"g" + (MAX_PAYLOAD_BYTES + 1).to_bytes(4, "big"),
    *(
        answer_with((tag, text))
        for tag, texts in {
            b"e": [b"A=\0", b"A", b"", b"=1", b"A B=1", b"\nA=1", b"A\x7f=1", b"N" * 256 + b"=1"],
            b"m": [b"a\0b", b""],
            b"g": [b"ea\0b", b"\0a", b""],
        }.items()
        for text in texts
    ),
    # Nothing of it counts.
    answer_with((b"e", b"QRMI_JOB_UID=1"), (b"m", b"a message"), (b"e", b"")),
    # Not one verdict that is known; not one number.
    *(
        joined([HELD, *((b"v", verdict) for verdict in verdicts), END])
        for verdicts in ([b"run", b"run"], [b"run", b"fail"], [b"Run"], [b"run\0"], [b""], [])
    ),
    *(
        joined([*((b"n", count) for count in counts), RUN, END])
        for counts in ([], [b"0", b"0"], [b""], [b"-1"], [b"1 "], [b"1000000"])
    ),
    # What is no end, or stands behind it.
    *(joined([HELD, RUN, (b".", b"x")]), answer_of() + b"x", answer_of() * 2),
]


def test_answer_that_is_malformed_or_cut_anywhere_fails_the_job(host: PluginHost) -> None:
    whole = answer_of(held=1, variables=[UID], messages=["text"], logs=[("debug", "logged")])
    cut = {whole[:length]: "ended before it had answered" for length in range(len(whole))}
    for message, failure in {**dict.fromkeys(MALFORMED, UNREADABLE), **cut}.items():
        with fresh(host, message) as each:
            each.answer(message)
            check_failed(each.run(), failure)


def test_answer_in_single_bytes_counts_even_if_the_worker_then_fails(host: PluginHost) -> None:
    (host.folder / "answer").write_bytes(answer_of(variables=[UID], messages=["text"]))
    host.play('dd if="$folder/answer" bs=1 2>/dev/null\nexit 3')
    report = host.run()
    assert (report.variables[b"QRMI_JOB_UID"], report.shown_to_user) == (b"1", ["text"])
    assert report.task_statuses == [0]


def test_endless_answer_is_cut_off(host: PluginHost) -> None:
    (host.folder / "record").write_bytes(encode_record(AnswerTag.LOG, b"d" + b"x" * 200_000))
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


def test_text_is_shown_as_it_is_without_control_characters(host: PluginHost) -> None:
    for sent, shown in {
        b"a\nb\rc\td\x1b[31m\x7f": "a?b?c?d?[31m?",
        b"%s%n%d %% 100%": "%s%n%d %% 100%",
        "ü".encode() + b"\xff": "ü?",
        b"x" * 200_000: "x" * 200_000,
    }.items():
        host.answer(answer_with((b"m", sent), (b"g", b"i" + sent)))
        report = host.run()
        assert (report.shown_to_user, report.logged("info")) == ([shown], [shown])
    # The first byte of a record is its level, and no part of its text.
    host.answer(answer_with((b"g", "ü".encode() + b"text")))
    assert "?text" in host.run().logged("debug")


def test_worker_that_cannot_be_started_is_named(host: PluginHost) -> None:
    folder = host.folder
    not_found = f"{folder}/spank_qrmi.python should be a link to its Python interpreter"
    check_failed(host.run(), f"cannot be found: {not_found} (No such file or directory)")
    host.link.write_text("no link")
    check_failed(host.run(), f"cannot be found: {not_found} (Invalid argument)")
    (folder / "plain").write_text("not executable")
    (folder / "nonsense").write_text("no program")
    (folder / "nonsense").chmod(0o755)
    (folder / "environment").symlink_to("python3")
    (folder / "python3").symlink_to(folder / "removed")
    for target, expected in {
        "nothing": f"{folder}/nothing: No such file or directory",
        "environment": f"{folder}/environment leads to {folder}/removed, which is missing: install "
        "that Python again, or the plugin with another one",
        "plain": f"{folder}/plain: Permission denied",
        "nonsense": f"{folder}/nonsense: Exec format error",
    }.items():
        host.link.unlink()
        host.link.symlink_to(folder / target)
        check_failed(host.run(), f"cannot be started: {expected}")


def test_worker_that_dies_fails_the_job(host: PluginHost) -> None:
    for script, failure in {
        "exit 0": "ended",
        "exit 1": "ended with status 1",
        "kill -9 $$": "was ended by signal 9",
        "kill -11 $$": "was ended by signal 11",
        "cat >/dev/null & exit 2": "ended with status 2",
        # It hangs up, and stays until it is ended.
        "exec 0<&- 1>&-; exec sleep 1000": "was ended by signal 9",
    }.items():
        host.play(script)
        check_failed(host.run(speed=FAST), f"{failure} before it had answered")


# A worker that hangs does so once: the release that follows would take the same time again.
ONCE = '[ -e "$folder/asked" ] && exit\n>"$folder/asked"\n'


@pytest.mark.parametrize(
    "script",
    [
        "trap '' TERM HUP INT; while :; do sleep 1000; done",
        "cat >/dev/null",
        "exec yes complaint >&2",
        'printf "QRMI"; exec sleep 1000',
        "exec 2>&-; exec sleep 1000",
    ],
)
def test_worker_that_never_answers_fails_the_job(host: PluginHost, script: str) -> None:
    host.play(f"{ONCE}{script}")
    # More than its socket takes at once.
    variables = [b"a%d_QRMI_L=" % number + b"x" * 200_000 for number in range(20)]
    report = host.run(arguments=SHORTEST_TIMEOUT, speed=FAST, environment=variables)
    check_failed(report, "did not answer in time")


def test_worker_that_stays_is_ended_with_its_processes(host: PluginHost) -> None:
    child, itself = 'sleep 1000 & echo $! >"$folder/pid"', 'echo $$ >"$folder/pid"; exec sleep 1000'
    timeout = "did not answer in time"
    for answer, then, arguments, told in (
        (b"", f"{child}; exec sleep 1000", SHORTEST_TIMEOUT, told_to_user(timeout)),
        (answer_of(messages=["text"]), child, [CONFIG], "text"),
        (answer_of(messages=["text"]), itself, [CONFIG], "text"),
    ):
        host.answer(answer, then)
        report = host.run(arguments=arguments, speed=FAST)
        assert (report.shown_to_user, report.task_statuses) == ([told], [not answer]), then
        pid = int((host.folder / "pid").read_text())
        # Its new parent may not have reaped it yet.
        wait_until(lambda pid=pid: not any(command_line(pid)), 10, "end of a process")


def test_end_of_what_a_worker_complains_about_is_logged(host: PluginHost) -> None:
    host.play("printf 'Traceback\\n  ValueError: %%s%%n\\033' >&2; exit 1")
    report = host.run()
    check_failed(report, "ended with status 1 before it had answered")
    assert report.logged("info")[0] == "worker: Traceback?  ValueError: %s%n?"
    host.play('i=0; while [ $i -lt 2000 ]; do echo "line $i" >&2; i=$((i+1)); done; exit 1')
    [complaint, *_] = host.run().logged("info")
    assert complaint.endswith("1999?")
    assert len(complaint) < 1100


def test_job_may_go_on_without_a_worker_by_the_last_choice(host: PluginHost) -> None:
    for script, choices in product(("exit 1", "printf nonsense"), permutations(CHOICES)):
        host.play(script)
        report = host.run(arguments=[CONFIG, *choices])
        fails = choices[-1] == "--on-failure=fail"
        assert (report.task_statuses, len(report.shown_to_user)) == ([fails], 1), script
        assert report.variables == NOTHING_HELD, script
        # The worker takes it so too.
        assert parse_arguments([CONFIG, *choices]).fails_on_failure is fails


# A worker that writes down what it finds; Python opens nothing of its own meanwhile.
CURIOUS_WORKER = (
    OPEN_DESCRIPTORS
    + """
import signal, sys
links = open_descriptors()
del links[channel.fileno()]
open_to = signal.valid_signals() - signal.pthread_sigmask(signal.SIG_BLOCK, [])
seen = {
    "links": links,
    "environment": Path("/proc/self/environ").read_text(),
    "command": sys.argv,
    "leads its session": os.getsid(0) == os.getpid(),
    "open to": sorted(each.name for each in open_to),
    "ignores SIGUSR1": signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN,
    "streams of the host": [n for n in range(3) if Path(f"/proc/{os.getppid()}/fd/{n}").exists()],
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
    assert ast.literal_eval((host.folder / "seen").read_text()) == {
        "links": {0: "socket", 1: "socket", 2: "pipe"},
        "environment": "PATH=/usr/bin:/bin\0LC_ALL=C.UTF-8\0",
        "command": [str(host.worker), "-I", "-m", "spank_qrmi.worker"],
        "leads its session": True,
        # A crash must end it; Slurm's other signals are for the job's tasks.
        "open to": ["SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGKILL", "SIGSEGV", "SIGSTOP"],
        # The host does.
        "ignores SIGUSR1": False,
        # None of the worker's takes the place of one that is closed: Slurm writes its log there.
        "streams of the host": [number for number in range(3) if str(number) not in closed],
    }


SHARING = {
    "step_id": 0,
    "environment": [
        *("SLURM_QRMI_JOB_ID=7", "SLURM_JOB_QPU_RESOURCES=a,b,c"),
        "SLURM_JOB_QPU_TYPES=one,two,three",
    ],
}


@needs_valgrind
@pytest.mark.parametrize(
    ("message", "orders", "status"),
    [
        (answer_of(held=1, variables=[UID], messages=["x"], logs=[("error", "y")]), {}, 0),
        (
            answer_of(verdict=Verdict.FAIL, messages=["text"]),
            {"step_id": 3, "second_options": ["job", "step"]},
            1,
        ),
        (answer_of(variables=[("A", "x" * 200_000)])[:-1], {}, 1),
        (joined([(b"e", b"QRMI_JOB_UID=1"), (b"m", b"text"), (b"?", b"")]), {"step_id": 3}, 1),
        (None, {}, 1),
        (None, {"second_options": "step"}, 0),
        (None, {"second_options": "x" * 60_000}, 1),
        (None, {**SHARING, "options": "c, a"}, 0),
        (
            answer_of(held=1, variables=[("d_QRMI_X", "1")], messages=["x"]),
            {**SHARING, "options": ",b ,d"},
            0,
        ),
        (None, {**SHARING, "options": "x" * 60_000}, 1),
    ],
    ids=[
        *("held", "fail", "cut", "malformed", "no worker", "held by steps", "bad choice"),
        *("shares", "shares and acquires", "shares, no worker"),
    ],
)
def test_memory_is_used_as_it_should(
    host: PluginHost, message: bytes | None, orders: dict[str, Any], status: int
) -> None:
    if message is not None:
        host.answer(message)
    environment = ["a_QRMI_X=1", "SLURM_JOB_QPU_RESOURCES=old", "RUST_LOG=info"]
    step = {"tasks": 2, "environment": environment, "options": ["a", "b"], **orders}
    assert host.run_in_valgrind(**step).task_statuses == [status] * 2
