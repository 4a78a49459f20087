# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker server as a process behind a socket of the service manager's."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from loopback.processes import children_of, end_processes
from loopback.socket_unit import SocketUnit
from loopback.waiting import wait_until
from loopback.worker_server import is_listened_to
from spank_qrmi.protocol import Request, Verb
from spank_qrmi.worker.server import KILL, START
from tests.deadlines import killed_after
from tests.unit.conversation import encode_request, read_answer
from tests.unit.open_descriptors import OPEN_DESCRIPTORS
from tests.unit.outcomes import trying
from tests.unit.served_workers import PATIENCE_SECONDS, PROGRAM, ServedWorker, asked, worker_server

BODY_BYTES = 500
FIRST_WORKERS, MANY_WORKERS = 5, 40
REQUEST = Request(Verb.ACQUIRE, 7, 0, 0, 1000, PATIENCE_SECONDS)

# A worker whose verb tells what it finds.
CURIOUS = (
    OPEN_DESCRIPTORS
    + """
from spank_qrmi.protocol import Verb, Verdict

def verb(request, deadline, answer, network):
    os.write(2, b"a complaint")
    umask = os.umask(0)
    answer.send_message(f"umask {umask:o}, folder {os.getcwd()}, environment {dict(os.environ)}")
    answer.send_message(f"asked by {request.stepd_pid}, not by {os.getppid()}")
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    answer.send_message(f"open to {sorted(each.name for each in signal.valid_signals() - blocked)}")
    handlers = {signal.getsignal(each) for each in (signal.SIGCHLD, signal.SIGTERM)}
    is_leader = os.getpgid(0) == os.getpid()
    answer.send_message(f"handlers {handlers == {signal.SIG_DFL}}, group {is_leader}")
    answer.send_message(f"open {sorted(open_descriptors().values())}")
    # What a first client makes.
    answer.send_message(f"codec of names {'encodings.idna' in sys.modules}")
    answer.end(Verdict.RUN)

worker._VERBS[Verb.ACQUIRE] = verb
"""
)


def with_worker(body: str) -> str:
    """Return a preparation that puts this in the worker's place; `pid` is the plugin's process."""
    lines = f"def serve(channel, network, pid):\nos.dup2(channel.detach(), 0)\n{body}"
    return lines.replace("\n", "\n    ") + "\nworker._serve_and_end = serve\n"


# It ends when its plugin hangs up, and repeats what it is told until then.
REPEATING = "while data := os.read(0, 100): os.write(0, data)\nos._exit(0)"
ECHO = with_worker(REPEATING)


@contextmanager
def serving(folder: Path, preparation: str) -> Iterator[SocketUnit]:
    with worker_server(folder, preparation) as unit:
        yield unit
        assert unit.said == ""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketUnit]:
    """A server for all tests that leave it as it is; its workers do what they are told first."""
    told = with_worker(f"exec(os.read(0, {BODY_BYTES}), globals())\nos._exit(0)")
    with serving(tmp_path_factory.mktemp("server"), told) as unit:
        yield unit


@contextmanager
def at_work(unit: SocketUnit, body: str = "") -> Iterator[ServedWorker]:
    """Have a worker of a server; one of the shared server's does this."""
    with asked(unit.path) as worker:
        assert worker.is_started()
        if body:
            worker.channel.sendall(body.encode().ljust(BODY_BYTES, b"\n"))
        yield worker


def assert_repeats(worker: ServedWorker) -> None:
    worker.channel.sendall(b"still here")
    assert worker.channel.recv(100) == b"still here"


def assert_ends(worker: ServedWorker) -> None:
    worker.channel.shutdown(socket.SHUT_WR)
    assert worker.status() == 0


def pid_of(unit: SocketUnit) -> int:
    assert unit.pid is not None
    return unit.pid


def sockets_in(unit: SocketUnit) -> int:
    """Return how many sockets a server has open."""
    count = 0
    for link in Path(f"/proc/{unit.pid}/fd").iterdir():
        # It may have been closed meanwhile.
        with suppress(FileNotFoundError):
            count += str(link.readlink()).startswith("socket:")
    return count


def wait_for_end(pid: int) -> None:
    wait_until(lambda: not Path(f"/proc/{pid}/cmdline").exists(), PATIENCE_SECONDS, "end")


def test_worker_is_as_one_that_slurmstepd_starts(tmp_path: Path) -> None:
    with serving(tmp_path, CURIOUS) as unit, at_work(unit) as worker:
        worker.channel.sendall(encode_request(REQUEST))
        answer = read_answer(worker.channel.recv)
        assert worker.status() == 0
        assert worker.stderr.recv(100) == b"a complaint"
        assert answer.messages == [
            "umask 77, folder /, environment {'PATH': '/usr/bin:/bin', 'LC_ALL': 'C.UTF-8'}",
            f"asked by {os.getpid()}, not by {unit.pid}",
            "open to ['SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGILL', 'SIGKILL', 'SIGSEGV', 'SIGSTOP']",
            "handlers True, group True",
            "open ['/dev/null', 'socket', 'socket', 'socket', 'socket']",
            "codec of names True",
        ]


def test_end_of_a_worker_is_told(shared: SocketUnit) -> None:
    for body, expected, shown in (
        ("os._exit(3)", 3 << 8, b""),
        ("os.kill(os.getpid(), signal.SIGKILL)", signal.SIGKILL, b""),
        ("raise OSError(11, 'no more')", 1 << 8, b"BlockingIOError: [Errno 11] no more\n"),
    ):
        with at_work(shared, body) as worker:
            assert worker.status() == expected, body
            assert worker.stderr.recv(65536).endswith(shown), body


def test_what_a_worker_has_started_ends_with_it(shared: SocketUnit) -> None:
    start = "pid = os.fork()\nif not pid: time.sleep(600)\nos.write(0, b'%d' % pid)\n"
    for end, status in (("os._exit(0)", 0), ("time.sleep(600)", signal.SIGKILL)):
        with trying(end), at_work(shared, start + end) as worker:
            started = int(worker.channel.recv(20))
            if status:
                worker.kill()
            assert worker.status() == status
            wait_for_end(started)


def test_workers_are_independent_and_one_is_ready_beside_several(shared: SocketUnit) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(at_work(shared, REPEATING)) for _ in range(2)]
        server = pid_of(shared)
        wait_until(lambda: len(children_of(server)) == 3, PATIENCE_SECONDS, "worker that is ready")
        workers += [stack.enter_context(at_work(shared, REPEATING)) for _ in range(6)]
        workers[0].kill()
        assert workers[0].status() == signal.SIGKILL
        for worker in workers[1:]:
            assert_repeats(worker)
            assert_ends(worker)


def test_plugin_that_dies_leaves_its_worker_to_itself(shared: SocketUnit, tmp_path: Path) -> None:
    """It undoes what it did: it sees its plugin's end as any worker does."""
    done = tmp_path / "done"
    body = f"while os.read(0, 1): pass\nopen({str(done)!r}, 'w').close()\nos._exit(0)"
    with at_work(shared, body):
        pass
    wait_until(done.exists, PATIENCE_SECONDS, "undoing")
    assert is_served(shared.path)


def test_plugin_that_has_given_up_gets_no_worker(tmp_path: Path) -> None:
    started = tmp_path / "started"
    body = f"open({str(started)!r}, 'a').write('x')\nos._exit(0)"
    with serving(tmp_path, with_worker(body)) as unit:
        serve_one(unit)
        os.kill(pid_of(unit), signal.SIGSTOP)
        for _ in range(3):
            with asked(unit.path):
                pass
        os.kill(pid_of(unit), signal.SIGCONT)
        serve_one(unit)
    assert started.read_text() == "xx"


def test_server_is_another_ones_once_its_environment_was_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, ECHO) as unit, at_work(unit) as running:
        former = unit.pid
        with asked(unit.path, START + b"/opt/newer/bin/python") as refused:
            assert not refused.is_started()
        # What runs is served to its end, and then comes the next server.
        assert_repeats(running)
        assert unit.pid == former
        assert_ends(running)
        assert is_served(unit.path)
        assert unit.pid != former


def serve_one(unit: SocketUnit) -> int:
    """Have one worker from its start to its end; return who served it."""
    with at_work(unit) as worker:
        server = pid_of(unit)
        assert_ends(worker)
    return server


def test_server_ends_when_a_library_has_been_replaced(tmp_path: Path) -> None:
    library, newer = tmp_path / "library", tmp_path / "newer"
    library.write_bytes(b"a library")
    loading = f"import mmap\nwith open({str(library)!r}, 'rb') as file:\n"
    loading += "    library = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE,\n"
    loading += "        prot=mmap.PROT_READ | mmap.PROT_EXEC)\n"
    with serving(tmp_path, loading + ECHO) as unit:
        former = serve_one(unit)
        newer.write_bytes(b"a library")
        newer.replace(library)
        assert serve_one(unit) != former


def is_served(path: Path) -> bool:
    with asked(path) as worker:
        return worker.is_started()


def test_server_that_is_told_to_end_lets_nobody_wait_and_its_workers_end(tmp_path: Path) -> None:
    """A plugin starts its worker itself then. A connection that says nothing does not matter."""
    with serving(tmp_path, ECHO) as unit, ExitStack() as stack:
        silent = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        silent.connect(str(unit.path))
        silent.settimeout(PATIENCE_SECONDS)
        worker = stack.enter_context(at_work(unit))
        server = pid_of(unit)
        os.kill(server, signal.SIGTERM)
        wait_until(lambda: not is_served(unit.path), PATIENCE_SECONDS, "end of service")
        # The first may have come just before the order.
        assert not is_served(unit.path)
        assert_repeats(worker)
        assert_ends(worker)
        wait_for_end(server)
        assert silent.recv(1) == b""


def test_order_to_end_is_not_lost_among_ends_of_workers(tmp_path: Path) -> None:
    first = tmp_path / "first"
    flooded = (
        "import contextlib\n"
        "watch = worker_server.WorkerServer._watch_signals\n"
        "def flood(server):\n"
        "    watch(server)\n"
        f"    if os.path.exists({str(first)!r}): return\n"
        f"    open({str(first)!r}, 'w').write(str(os.getpid()))\n"
        "    with contextlib.suppress(BlockingIOError):\n"
        "        while True: server._wake_up.send(bytes([signal.SIGCHLD]))\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "worker_server.WorkerServer._watch_signals = flood\n"
    )
    with serving(tmp_path, ECHO + flooded) as unit:
        wait_until(lambda: is_served(unit.path), PATIENCE_SECONDS, "server")
        assert unit.pid not in (None, int(first.read_text()))


def test_other_orders_start_nothing_and_leave_nothing_open(shared: SocketUnit) -> None:
    serve_one(shared)
    start = START + sys.executable.encode()
    for packet, descriptor_count in ((start, 1), (start, 4), (KILL, 2)):
        # The listener, both ends of what tells it of signals, and the worker that is ready.
        wait_until(lambda: sockets_in(shared) == 4, PATIENCE_SECONDS, "closed descriptors")
        with asked(shared.path, packet, descriptor_count) as refused:
            assert not refused.is_started(), (packet, descriptor_count)
    wait_until(lambda: sockets_in(shared) == 4, PATIENCE_SECONDS, "closed descriptors")


def test_server_is_after_many_workers_as_after_the_first_ones(tmp_path: Path) -> None:
    """A worker sees what its server has: it is a copy of it."""
    body = "gc.collect()\nos.write(0, b'%d' % len(gc.get_objects()))\nos._exit(0)"
    counts = []
    with serving(tmp_path, "import gc\n" + with_worker(body)) as unit:
        for _ in range(MANY_WORKERS):
            with at_work(unit) as worker:
                counts.append(int(worker.said()))
                assert worker.status() == 0
        wait_until(lambda: sockets_in(unit) == 4, PATIENCE_SECONDS, "closed descriptors")
        wait_until(
            lambda: len(children_of(pid_of(unit))) == 1, PATIENCE_SECONDS, "worker that is ready"
        )
    assert counts[-1] - counts[FIRST_WORKERS] < (MANY_WORKERS - FIRST_WORKERS) // 2, counts


def test_connection_has_one_worker(shared: SocketUnit) -> None:
    with at_work(shared, REPEATING) as worker:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ends = [theirs.fileno()] * 2
            socket.send_fds(worker.connection, [START + sys.executable.encode()], ends)
            theirs.close()
            # It is closed without a word.
            assert ours.recv(20) == b""
        assert_repeats(worker)
        assert_ends(worker)


def test_process_that_cannot_be_forked(tmp_path: Path) -> None:
    failing = (
        "fork = os.fork\n"
        "def fail():\n    os.fork = fork\n    raise BlockingIOError(11, 'no more processes')\n"
        "os.fork = fail\n"
    )
    with serving(tmp_path, ECHO + failing) as unit:
        assert [is_served(unit.path) for _ in range(2)] == [False, True]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_other_users_get_no_worker(open_folder: Path) -> None:
    with serving(open_folder, ECHO) as unit:
        unit.path.chmod(0o666)
        program = (
            "import socket, sys\n"
            "connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
            "connection.connect(sys.argv[1])\n"
            "print(connection.recv(16))\n"
        )
        command = ["setpriv", "--reuid=65534", "--clear-groups", "--", "/usr/bin/python3", "-I"]
        command += ["-c", program, str(unit.path)]
        assert subprocess.check_output(command, timeout=PATIENCE_SECONDS) == b"b''\n"


def test_without_a_socket_it_says_what_starts_it() -> None:
    command = [sys.executable, "-I", "-m", "spank_qrmi", "worker-server"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        *(1, ""),
        "spank-qrmi: it serves one socket of systemd's: start spank-qrmi-worker-server.socket, or "
        "name a path by --socket\n",
    )


def ready_worker_of(server: int) -> int:
    """Wait until a server has a worker that nobody has yet; return its process id."""
    [pid] = wait_until(lambda: children_of(server), PATIENCE_SECONDS, "worker that is ready")
    wait_until(lambda: children_of(pid), PATIENCE_SECONDS, "network process of it")
    return int(pid)


def test_worker_is_ready_before_it_is_asked_for(shared: SocketUnit) -> None:
    for _ in range(3):
        ready = ready_worker_of(serve_one(shared))
        with at_work(shared, "os.write(0, b'%d' % os.getpid())\nos._exit(0)") as worker:
            assert int(worker.channel.recv(20)) == ready
            # Else it could be taken for the next one that is ready.
            assert worker.status() == 0


def test_none_is_ready_beside_one_at_work(tmp_path: Path) -> None:
    with (
        serving(tmp_path, ECHO + "worker_server._QUIET_SECONDS = 0\n") as unit,
        at_work(unit) as worker,
    ):
        server = pid_of(unit)
        [busy] = children_of(server)
        for _ in range(3):
            # With its answer the server has gone once round.
            with asked(unit.path, b"nothing") as refused:
                assert not refused.is_started()
        assert children_of(server) == [busy]
        assert_ends(worker)
        assert ready_worker_of(server) != busy


def test_ready_worker_that_was_killed_or_could_ask_nothing_is_replaced(shared: SocketUnit) -> None:
    server = serve_one(shared)
    for is_killed in (True, True, False, False):
        ready = ready_worker_of(server)
        end_processes([ready] if is_killed else children_of(ready))
        wait_for_end(ready)
        assert serve_one(shared) == server, is_killed


def test_nothing_is_left_of_a_server_that_was_killed(tmp_path: Path) -> None:
    with serving(tmp_path, ECHO) as unit:
        server = serve_one(unit)
        ready = ready_worker_of(server)
        [network] = children_of(ready)
        os.kill(server, signal.SIGKILL)
        for pid in (ready, network):
            wait_for_end(pid)


def test_server_that_is_idle_ends_and_another_comes(tmp_path: Path) -> None:
    with serving(tmp_path, ECHO + "worker_server.IDLE_SECONDS = 0.3\n") as unit:
        first = serve_one(unit)
        wait_for_end(first)
        assert serve_one(unit) != first


def test_server_may_make_its_socket_itself(tmp_path: Path) -> None:
    path = tmp_path / "made" / "socket"
    program = PROGRAM.format(preparation=ECHO).replace("main()", f"main({str(path)!r})")
    command = [sys.executable, "-I", "-c", program]
    for _ in range(2):
        # The second finds what the first has left.
        with subprocess.Popen(command) as server, killed_after(PATIENCE_SECONDS, server):
            wait_until(lambda: is_listened_to(path), PATIENCE_SECONDS, "service")
            assert is_served(path)
            modes = [each.stat().st_mode & 0o777 for each in (path, path.parent)]
            assert modes == [0o600, 0o700]
            another = subprocess.run(
                command, timeout=PATIENCE_SECONDS, capture_output=True, text=True, check=False
            )
            expected = f"spank-qrmi: another worker server serves {path}\n"
            assert (another.returncode, another.stderr) == (1, expected)
            assert is_served(path)
            server.terminate()
            assert server.wait(PATIENCE_SECONDS) == 0
