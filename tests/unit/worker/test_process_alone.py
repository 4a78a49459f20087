# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker as the process that a plugin starts, over the socket that it gets for 0 and 1."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from loopback.processes import children_of, command_line
from loopback.waiting import wait_until
from spank_qrmi.clients import other_names
from spank_qrmi.protocol import Request, Verb
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi_simulator.faults import parse_fault
from spank_qrmi_simulator.qrmi_config import site_config, write_config
from spank_qrmi_simulator.server import running_in_thread
from spank_qrmi_simulator.site import SERVICE_CRN, Site
from tests.unit.conversation import SeenAnswer, encode_request, read_answer
from tests.unit.open_descriptors import OPEN_DESCRIPTORS
from tests.unit.trust.test_privileges import ASK

PATIENCE_SECONDS = 60
REQUEST = Request(Verb.ACQUIRE, 7, 0, 0, 1000, PATIENCE_SECONDS)
# Tests may run as root on files that are an ordinary user's.
WORKER = (
    "-I",
    "-c",
    "from spank_qrmi.worker import process; process.refuse_untrusted_code = lambda *_: None; "
    "process.main()",
)

# A worker whose verb tells what it finds, after all that libraries may do to standard output.
CURIOUS_WORKER = (
    OPEN_DESCRIPTORS
    + ASK
    + """
import os, sys
from spank_qrmi.worker import process as worker
from spank_qrmi.state.journal import Entry, Journal
from spank_qrmi.protocol import Verb, Verdict

def verb(request, deadline, answer, network):
    print("stray print", flush=True)
    os.write(1, b"stray write")
    umask = os.umask(0)
    answer.send_message(f"umask {umask:o}")
    answer.send_message(f"cwd {os.getcwd()}")
    answer.send_message(f"stdin {sys.stdin.read()!r}")
    answer.send_message(f"fds {sorted(open_descriptors().items())}")
    answer.send_message(f"asking {set(refusals().values())}")
    answer.end(Verdict.RUN)

worker.refuse_untrusted_code = lambda *_: None
worker._VERBS[Verb.ACQUIRE] = verb
worker.main()
"""
)


@dataclass
class RunningWorker:
    """A worker that has been started, and the plugin's end of its socket."""

    process: subprocess.Popen[bytes]
    channel: socket.socket

    def ask(self, request: Request) -> SeenAnswer:
        self.channel.sendall(encode_request(request))
        return read_answer(self.channel.recv)

    def end(self) -> tuple[int, bytes]:
        """Return exit status and what was written to stderr."""
        _, complaint = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, complaint


@contextlib.contextmanager
def started(
    command: Sequence[str], pass_fds: Sequence[int] = (), under: Sequence[str] = ()
) -> Iterator[RunningWorker]:
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE_SECONDS)
    with ours:
        process = subprocess.Popen(
            [*under, sys.executable, *command],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            env={"LC_ALL": "C.UTF-8"},
        )
        theirs.close()
        with process:
            try:
                yield RunningWorker(process, ours)
            finally:
                process.kill()


def answer_of(request: Request, *command: str, under: Sequence[str] = ()) -> SeenAnswer:
    """Return the answer of a worker that ends without a word."""
    with started(command or WORKER, under=under) as running:
        answer = running.ask(request)
        assert running.end() == (0, b"")
    return answer


def test_process_keeps_its_answer_clean_and_nothing_open_and_may_ask_nothing() -> None:
    """Descriptors 3 and up may be taken or free: the channels end as 3 and 4 in both cases."""
    fds = [(0, "/dev/null"), (1, "pipe"), (2, "pipe"), (3, "socket"), (4, "socket")]
    told = ["umask 77", "cwd /", "stdin ''", f"fds {fds}", "asking {'refused'}"]
    for inherited in (os.pipe(), ()):
        try:
            with started(("-I", "-c", CURIOUS_WORKER), inherited) as running:
                answer = running.ask(REQUEST)
                ended = running.end()
        finally:
            for descriptor in inherited:
                os.close(descriptor)
        assert answer.messages == told, inherited
        assert ended == (0, b"stray print\nstray write"), inherited


@pytest.fixture
def site_of_node(tmp_path: Path) -> Iterator[Site]:
    site = Site()
    with running_in_thread(site) as base_url:
        write_config(tmp_path / "qrmi_config.json", site_config(base_url))
        yield site


def request_of(folder: Path, verb: Verb, qpus: str = "", *options: str) -> Request:
    arguments = (
        *(f"{folder}/qrmi_config.json", f"--state-dir={folder}/state"),
        *(f"--usage-file={folder}/usage.jsonl", *options),
    )
    return Request(verb, 7, 0, 0, 1000, PATIENCE_SECONDS, qpu_option=qpus, arguments=arguments)


@contextlib.contextmanager
def acquiring(
    site: Site, request: Request, *, path: str = "/sessions", count: int = 1, **fault: object
) -> Iterator[RunningWorker]:
    """A worker that has asked so often for a path, mostly for sessions, which hangs or worse."""
    site.faults.add(parse_fault({"kind": "hang", "path": f"{path}$", **fault}))
    with started(WORKER) as running:
        running.channel.sendall(encode_request(request))
        wait_until(
            lambda: sum(record.path.endswith(path) for record in list(site.requests)),
            PATIENCE_SECONDS,
            f"{count} requests for {path}",
            accept=lambda found: found == count,
        )
        yield running


def test_process_acquires_by_all_names_of_a_type_and_another_releases(
    site_of_node: Site, tmp_path: Path
) -> None:
    path = tmp_path / "qrmi_config.json"
    config = orjson.loads(path.read_bytes())
    for resource in config["resources"]:
        resource["also_as"] = other_names(resource["type"])
    write_config(path, config)
    names = "ibm_sherbrooke,ibm_torino,FRESNEL"
    answer = answer_of(request_of(tmp_path, Verb.ACQUIRE, names))
    assert (answer.messages, answer.held, answer.verdict) == ([], 3, "run")
    told = dict(answer.variables)
    assert told["SLURM_JOB_QPU_RESOURCES"] == names
    assert told["QRMI_JOB_QPU_TYPES"].split(",") == [
        *("qiskit-runtime-service", "ibm-quantum-compute-service"),
        *("direct-access", "ibm-quantum-system", "pasqal-cloud"),
    ]
    for key in ("sherbrooke_QRMI_IBM_QRS", "sherbrooke_QRMI_IBM_QCS", "torino_QRMI_IBM_QS"):
        assert told[f"ibm_{key}_SERVICE_CRN"] == SERVICE_CRN
    [session] = site_of_node.sessions()
    token = told["ibm_sherbrooke_QRMI_JOB_ACQUISITION_TOKEN"]
    assert (session.session_id, session.accepting_jobs) == (token, True)
    answer = answer_of(request_of(tmp_path, Verb.RELEASE))
    assert (answer.messages, answer.held, answer.verdict) == ([], 0, "run")
    assert [session.accepting_jobs for session in site_of_node.sessions()] == [False]
    # What the service has agreed to close is no job's any longer.
    assert {each.name[:5] for each in (tmp_path / "state").glob("*.json")} == {"told-"}


def test_plugin_that_closes_its_side_makes_it_undo_what_it_has(
    site_of_node: Site, tmp_path: Path
) -> None:
    """One session is opened, the other hangs: after that no session may be left."""
    request = request_of(tmp_path, Verb.ACQUIRE, "ibm_sherbrooke,ibm_brisbane,FRESNEL")
    with acquiring(site_of_node, request, count=2) as running:
        running.channel.shutdown(socket.SHUT_WR)
        answer = read_answer(running.channel.recv)
        assert running.end() == (0, b"")
    assert "the job was ended while its QPUs were acquired" in answer.messages
    assert answer.verdict == "fail"
    assert dict(answer.variables)["SLURM_JOB_QPU_RESOURCES"] == ""
    assert [session.accepting_jobs for session in site_of_node.sessions()] == [False]


def test_worker_whose_slurmstepd_was_killed_undoes_what_it_has(
    site_of_node: Site, tmp_path: Path
) -> None:
    """The answer that opens a session comes when nobody listens any more: it is closed again."""
    request = request_of(tmp_path, Verb.ACQUIRE, "ibm_sherbrooke,FRESNEL")
    with acquiring(site_of_node, request, kind="delay", delay_seconds=1) as running:
        running.channel.close()
        assert running.end() == (0, b"")
    assert [session.accepting_jobs for session in site_of_node.sessions()] == [False]
    assert list((tmp_path / "state").glob("[0-9]*.json")) == []


def limits_of(pid: int) -> dict[str, int | None]:
    """Return a process's limits, None for those that it may raise itself."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    limits = {line[4:25].rstrip(): line[25:].split()[:2] for line in lines}
    return {
        name: int(soft) if soft == hard != "unlimited" else None
        for name, (soft, hard) in limits.items()
    }


@pytest.mark.parametrize(
    ("options", "uid", "gid"), [([], 65534, 65534), (["--worker-user=daemon"], 1, 1)]
)
def test_what_reads_the_network_has_no_root_and_only_its_sockets_and_ends_with_its_worker(
    site_of_node: Site, tmp_path: Path, options: list[str], uid: int, gid: int
) -> None:
    if os.geteuid() != 0:
        uid, gid = os.geteuid(), os.getegid()
    request = request_of(tmp_path, Verb.ACQUIRE, "ibm_sherbrooke", *options)
    with acquiring(site_of_node, request) as running:
        [pid] = children_of(running.process.pid)
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        assert (status["Uid"], status["Gid"]) == ([str(uid)] * 4, [str(gid)] * 4)
        if os.geteuid() == 0:
            assert status["Groups"] == []
        assert status["NoNewPrivs"] == ["1"]
        for each in ("CapPrm", "CapEff", "CapAmb"):
            assert status[each] == ["0" * 16]
        limits = {
            "core file size": 1,
            "file size": 0,
            "open files": 512,
            "data size": 3 << 29,
            "cpu time": PATIENCE_SECONDS + 60,
        }
        found = limits_of(pid)
        assert {name: found[name] for name in limits} == limits
        fds = {
            int(link.name): str(link.readlink()).partition(":")[0]
            for link in Path(f"/proc/{pid}/fd").iterdir()
        }
        standard = [fds.pop(number) for number in range(4)]
        assert standard == ["/dev/null", "/dev/null", "pipe", "socket"]
        # libffi, which calls prctl(2), keeps its own library open on newer systems.
        assert {each for each in fds.values() if "/libffi.so" not in each} == {"socket"}
        found = limits_of(running.process.pid)
        assert (found["core file size"], found["data size"]) == (1, 1 << 30)
        # It ends with its worker.
        running.process.kill()
        wait_until(lambda: not any(command_line(pid)), PATIENCE_SECONDS, "end of it")


def test_session_may_be_open_that_a_dead_network_process_asked_for(
    site_of_node: Site, tmp_path: Path
) -> None:
    request = request_of(tmp_path, Verb.ACQUIRE, "ibm_sherbrooke")
    with acquiring(site_of_node, request) as running:
        [pid] = children_of(running.process.pid)
        os.kill(pid, signal.SIGSEGV)
        answer = read_answer(running.channel.recv)
        assert running.end() == (0, b"")
    assert answer.messages[0].startswith(
        "QPU ibm_sherbrooke: the worker's network process ended before it had answered; "
        "a dedicated session on ibm_sherbrooke at "
    )
    assert "may be open until" in answer.messages[0]
    assert answer.verdict == "fail"
    [entry] = Journal(tmp_path / "state").entries()
    assert isinstance(entry, Entry)
    assert (entry.token, entry.ends_at is not None) == (None, True)


def test_stopped_network_process_is_continued(site_of_node: Site, tmp_path: Path) -> None:
    request = request_of(tmp_path, Verb.ACQUIRE, "ibm_sherbrooke")
    delay = {"kind": "delay", "delay_seconds": 1}
    with acquiring(site_of_node, request, path="/status", **delay) as running:
        [pid] = children_of(running.process.pid)
        os.kill(pid, signal.SIGSTOP)
        answer = read_answer(running.channel.recv)
        assert running.end() == (0, b"")
    assert (answer.messages, answer.verdict) == ([], "run")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_rights_of_the_systemd_unit_are_enough(site_of_node: Site, tmp_path: Path) -> None:
    unit = (Path(__file__).parents[3] / "systemd" / "spank-qrmi-release.service").read_text()
    [names] = re.findall(r"(?m)^CapabilityBoundingSet=(.*)$", unit)
    kept = ",".join("+" + name.removeprefix("CAP_").lower() for name in names.split())
    under = ("setpriv", "--no-new-privs", f"--bounding-set=-all,{kept}")
    answer = answer_of(request_of(tmp_path, Verb.ACQUIRE, "ibm_sherbrooke"), under=under)
    assert (answer.messages, answer.verdict) == ([], "run")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_where_root_stays_nothing_is_asked_and_one_line_says_why(
    site_of_node: Site, tmp_path: Path
) -> None:
    stays = "root cannot be given up"
    unknown = "this node knows no such user: add it, or name another"
    cannot = ("setpriv", "--bounding-set=-setuid")
    regains = ("setpriv", "--securebits=+no_setuid_fixup")
    for under, options, expected in (
        (cannot, (), f"{stays} for user 65534: Operation not permitted"),
        (regains, (), f"{stays}: it can be regained"),
        ((), ("--worker-user=no-such-user",), f"--worker-user=no-such-user: {unknown}"),
    ):
        request = request_of(tmp_path, Verb.ACQUIRE, "ibm_sherbrooke,FRESNEL", *options)
        [message, _] = answer_of(request, under=under).messages
        assert (message, list(site_of_node.requests)) == (expected, [])
