# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin in the fake host, with its worker from a worker server; or without one after all."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loopback.processes import command_line, end_processes
from loopback.socket_unit import SocketUnit
from loopback.waiting import wait_until
from spank_qrmi.worker.server import STARTED
from tests.unit.outcomes import trying
from tests.unit.plugin_host import (
    CONFIG,
    PluginHost,
    Report,
    answer_of,
    needs_valgrind,
    told_to_user,
)
from tests.unit.served_workers import (
    PATIENCE_SECONDS,
    asked,
    scripted_server,
    silent_server,
    worker_server,
)
from tests.unit.worker.test_server import with_worker

FAST = 5
VARIABLES = [("a_QRMI_X", "1")]

ANSWERS = "os.write(0, answer)\nos._exit(0)"
KILL_SERVER = "os.kill(os.getppid(), signal.SIGKILL)"


@contextmanager
def serving(host: PluginHost, body: str = ANSWERS, held: int = 0) -> Iterator[SocketUnit]:
    """Let the plugin's environment be this one, and its worker server have such workers."""
    (host.folder / "answer").write_bytes(answer_of(variables=VARIABLES, held=held))
    host.link.unlink(missing_ok=True)
    host.link.symlink_to(sys.executable)
    told = f"folder = {str(host.folder)!r}\nanswer = open(folder + '/answer', 'rb').read()\n"
    told += "open(folder + '/served', 'a').write('x')\n"
    with worker_server(host.folder, with_worker(told + body)) as unit:
        with asked(unit.path, b"nothing") as refused:
            assert not refused.is_started()
        yield unit
        assert unit.said == ""


def run(host: PluginHost, path: Path | str, *arguments: str, **orders: object) -> Report:
    wanted = [CONFIG, f"--worker-server={path}", *arguments]
    return host.run(arguments=wanted, **orders)  # type: ignore[arg-type]


def test_worker_comes_from_the_server_and_its_complaints_are_logged(host: PluginHost) -> None:
    # Its connection takes the place of no standard stream that is closed.
    found = "{'0', '1', '2'}.intersection(os.listdir(f'/proc/{pid}/fd'))"
    told = f"os.write(2, ' '.join(['a complaint', *{found}]).encode())"
    with serving(host, f"{told}\n{ANSWERS}", held=1) as unit:
        report = run(host, unit.path, closed=["0", "1", "2"])
    assert report.variables[b"a_QRMI_X"] == b"1"
    assert (report.task_statuses, report.shown_to_user) == ([0], [])
    # One acquires, and one releases.
    assert (host.folder / "served").read_text() == "xx"
    assert report.logged("debug").count(f"worker of worker server {unit.path}") == 2
    assert report.logged("info") == ["worker: a complaint"] * 2


def test_job_does_not_wait_for_the_end_of_a_worker_that_has_answered(host: PluginHost) -> None:
    gate = host.folder / "gate"
    os.mkfifo(gate)

    def has_been_opened() -> bool:
        try:
            os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    body = f"os.write(0, answer)\nopen({str(gate)!r}).read()\nos._exit(0)"
    with serving(host, body) as unit:
        report = run(host, unit.path)
        # One that was ended never comes to the gate.
        wait_until(has_been_opened, PATIENCE_SECONDS, "worker that still runs")
    assert (report.task_statuses, report.variables[b"a_QRMI_X"]) == ([0], b"1")


def test_plugin_for_qrun_has_it_too(qrun_host: PluginHost) -> None:
    with serving(qrun_host) as unit:
        (qrun_host.folder / "answer").write_bytes(answer_of(variables=[("IBMQRUN_X", "1")]))
        report = qrun_host.run(
            options=["q-backend=a"], arguments=[f"--worker-server={unit.path}", "--credentials=/x"]
        )
    assert f"worker of worker server {unit.path}" in report.logged("debug")


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        ("os._exit(3)", "ended with status 3 before it had answered"),
        ("os.write(0, b'nonsense')\ntime.sleep(600)", "gave an answer that cannot be read"),
        ("time.sleep(600)", "did not answer in time"),
        # Nobody can end it without the server: it is told by its socket, and ends by itself.
        (f"{KILL_SERVER}\nwhile os.read(0, 100): pass\nos._exit(0)", "did not answer in time"),
    ],
)
def test_worker_that_fails_is_ended(host: PluginHost, body: str, failure: str) -> None:
    pids = host.folder / "pids"
    note_pid = f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')\n"

    def staying() -> list[int]:
        # Of one that is not reaped yet no word is left.
        return [pid for pid in map(int, pids.read_text().split()) if any(command_line(pid))]

    with serving(host, note_pid + body) as unit:
        try:
            report = run(host, unit.path, "--acquire-timeout=1", "--release-timeout=1", speed=FAST)
            assert (report.task_statuses, report.shown_to_user) == ([1], [told_to_user(failure)])
            wait_until(lambda: not staying(), PATIENCE_SECONDS, "end of the workers")
        finally:
            end_processes(staying())


def test_server_that_dies_takes_no_job_along(host: PluginHost) -> None:
    with serving(host, f"{KILL_SERVER}\n{ANSWERS}") as unit:
        report = run(host, unit.path)
    assert (report.task_statuses, report.variables[b"a_QRMI_X"]) == ([0], b"1")


def assert_started_without(report: Report, path: Path | str, why: str) -> None:
    """Assert that a worker was started by the plugin itself, and the log says why."""
    assert report.variables[b"a_QRMI_X"] == b"1"
    assert (report.task_statuses, report.shown_to_user) == ([0], [])
    warning = f"warning: --worker-server={path}: {why}; a worker is started without it"
    assert warning in report.logged("info")


def test_server_that_gives_no_worker_whatever_the_reason(host: PluginHost) -> None:
    host.answer(answer_of(variables=VARIABLES))
    path = host.folder / "socket"
    longest = "/" + "x" * 107
    assert_started_without(run(host, "/a\n\x1bb"), "/a??b", "No such file or directory")
    assert_started_without(run(host, longest), longest, "File name too long")
    with silent_server(path):
        report = run(host, path, speed=FAST)
    assert_started_without(report, path, "it does not answer")
    assert_started_without(run(host, path), path, "Connection refused")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        report = run(host, path)
    assert_started_without(report, path, "Protocol wrong type for socket")
    for packets in ((), (b"",), (b"?",), (b"?" * 1000,)):
        path.unlink()
        with trying(packets):
            with scripted_server(path, *packets):
                report = run(host, path)
            assert_started_without(report, path, "it cannot start a worker")
    # The worker's end of the socket is closed at once, whatever the server tells of its end.
    for end in (b"", b"?", struct.pack("i", 0), struct.pack("q", 1 << 40)):
        path.unlink()
        with trying(end):
            with scripted_server(path, STARTED, end):
                # Nobody answers when it is to release: that wait takes its time.
                report = run(host, path, speed=FAST)
            assert report.shown_to_user == [told_to_user("ended before it had answered")]


OTHERS_SERVER = """
import socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
accepted, _ = listener.accept()
print(accepted.recv(10))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_server_of_another_user_gets_nothing(host: PluginHost, open_folder: Path) -> None:
    host.answer(answer_of(variables=VARIABLES))
    path = open_folder / "socket"
    as_nobody = ["setpriv", "--reuid=65534", "--clear-groups", "--", "/usr/bin/python3", "-I"]
    command = [*as_nobody, "-c", OTHERS_SERVER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        report = run(host, path)
        assert other.stdout.read() == b"b''\n"
    assert_started_without(report, path, "Permission denied")


@needs_valgrind
def test_memory_is_kept_well(host: PluginHost) -> None:
    with serving(host, held=1) as unit:
        report = host.run_in_valgrind(arguments=[CONFIG, f"--worker-server={unit.path}"])
    assert ((host.folder / "served").read_text(), report.task_statuses) == ("xx", [0])
