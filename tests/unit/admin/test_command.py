# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi status` and `spank-qrmi release`: what a node holds, shown and given back."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from spank_qrmi.admin import held
from spank_qrmi.admin.command import main
from spank_qrmi.clients import CLIENTS
from spank_qrmi.configuration.qrmi_config import load_config
from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import JournalError, QrmiError, ReleaseError
from spank_qrmi.state.journal import Entry, Journal, LockedEntry
from spank_qrmi.state.owner import Owner, owner_of
from spank_qrmi.state.token_cache import TokenCache
from spank_qrmi_simulator.qrmi_config import site_config, write_config
from spank_qrmi_simulator.server import running_in_thread
from spank_qrmi_simulator.site import API_KEY, SERVICE_CRN, Account, Site
from tests.unit.fake_vendor import TYPE, FakeVendor
from tests.unit.local_network import LocalNetwork
from tests.unit.trust.test_privileges import ASK

NOW = 1_700_000_000
BATCH_STEP = 0xFFFFFFFB
GONE = Owner(os.uname().nodename, "another boot", 1, 2, 3)
SECRET = "secret-of-the-site"


class Node:
    """A node with a journal, and the command on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def hold(self, name: str, **changes: Any) -> Entry:
        entry = Entry(
            *(7, 0, BATCH_STEP, 0, name, TYPE, {"QRMI_KEY": SECRET}),
            token=f"token-{name}",
            acquired_at=NOW,
            owner=GONE,
            hold="a session",
            ends_at=NOW + 100,
        )
        entry = replace(entry, **changes)
        with Journal(self.folder).begin(entry):
            return entry

    def run(self, *arguments: str) -> tuple[int, list[str]]:
        """Run the command; return its exit status and what it printed."""
        return self.run_as_said([*arguments, f"--state-dir={self.folder}"])

    def run_as_said(self, arguments: Sequence[str]) -> tuple[int, list[str]]:
        """Run the command with these arguments alone."""
        status = main(arguments)
        printed = self._capsys.readouterr()
        assert SECRET not in printed.out + printed.err
        assert "token-" not in printed.out + printed.err
        return status, [*printed.out.splitlines(), *printed.err.splitlines()]

    def held(self) -> list[str]:
        entries = Journal(self.folder).entries()
        return sorted(entry.resource_name for entry in entries if isinstance(entry, Entry))


@pytest.fixture(autouse=True)
def _network_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", os.devnull)
    monkeypatch.setattr(held, "fork_network_process", LocalNetwork)
    # The environment of the tests may be anybody's.
    monkeypatch.setattr(held, "refuse_untrusted_code", lambda *_: None)
    # They would last for all other tests.
    monkeypatch.setattr(held.privileges, "limit", lambda _: None)


@pytest.fixture
def node(tmp_path: Path, capsys: pytest.CaptureFixture[str], vendor: FakeVendor) -> Node:
    return Node(tmp_path / "journal", capsys)


@pytest.fixture
def alive() -> Owner:
    return owner_of(os.getpid())


def test_access_token_is_shown_nowhere(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    class Network(LocalNetwork):
        def open(self, *_: object, token_cache: TokenCache | None = None, **__: object) -> None:
            assert token_cache is not None
            token_cache.hide(["access-token"])
            raise QrmiError("the service said access-token")

    monkeypatch.setattr(held, "fork_network_process", Network)
    node.hold("a")
    expected = (1, ["spank-qrmi: the service said ****"])
    assert node.run("release", "--all") == expected


@pytest.fixture
def plugstack(node: Node, tmp_path: Path) -> Path:
    """What slurmd reads on a node whose journal is in another folder than usual."""
    path = tmp_path / "plugstack.conf"
    path.write_text(
        f"optional spank_qrmi.so --state-dir={tmp_path}/other\n"
        f"optional /lib/spank_qrmi.so /etc/q.json --state-dir={node.folder} --worker-user=4711\n"
        f"optional spank_qrmi.so /etc/other.json --state-dir={tmp_path}/other\n"
        f"optional spank_ibm_qrun.so --state-dir={tmp_path}/other\n"
    )
    (tmp_path / "slurm.conf").write_text("ClusterName=a\n")
    return path


def test_arguments_of_the_plugin_are_those_of_plugstack_conf(
    node: Node, plugstack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users: list[object] = []

    class Network(LocalNetwork):
        def open(self, variables: object, user: str = "", *_: object, **__: object) -> None:
            users.append(user)

    monkeypatch.setattr(held, "fork_network_process", Network)
    for name in "abc":
        node.hold(name)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    said: list[list[str]] = [[], ["--worker-user=99"]]
    for arguments in said:
        assert node.run_as_said(["release", "--all", *arguments])[0] == 0
        node.hold("a")
    monkeypatch.setenv("SLURM_CONF", os.devnull)
    status, lines = node.run_as_said(["release", "--all", f"--plugstack={plugstack}"])
    assert (status, lines, node.held()) == (0, ["job 7: a: released"], [])
    assert users == ["4711", "99", "4711"]


def test_line_of_plugstack_conf_that_is_wrong_is_named(
    node: Node, plugstack: Path, tmp_path: Path
) -> None:
    plugstack.write_text("optional spank_qrmi.so /etc/q.json --stat-dir=/x\n")
    assert node.run_as_said(["status", f"--plugstack={plugstack}"]) == (
        1,
        [
            "spank-qrmi: argument '--stat-dir=…' is not known: correct the line of spank_qrmi.so "
            "in plugstack.conf"
        ],
    )


def test_status_is_a_table(node: Node, alive: Owner) -> None:
    node.hold("held", owner=alive)
    node.hold("left", job_id=12, restart_count=2, step_id=0, uid=4_000_000_000)
    node.hold("coming", owner=alive, token=None)
    node.hold("lost", token=None, failure="cut off", failed_at=NOW, failures=1)
    node.hold("lost too", token=None)
    node.hold("down", failure="no answer", failed_at=NOW + 60, failures=3, owner=None)
    node.hold("old", acquired_at=None, owner=None)
    node.hold("told", owner=alive, is_told=True)
    assert node.run("status") == (
        0,
        [
            "JOB             STEP   USER        RESOURCE  TYPE  SINCE                    STATE",
            f"7               batch  root        coming    fake  {SINCE}  being acquired",
            f"7               batch  root        down      fake  {SINCE}  release failed, 3 times, "
            "last 2023-11-14 22:14:20 UTC: no answer",
            f"7               batch  root        held      fake  {SINCE}  held",
            f"7               batch  root        lost      fake  {SINCE}  never answered, its step "
            "is gone: cut off",
            f"7               batch  root        lost too  fake  {SINCE}  never answered, its step "
            "is gone: a session may be open until 2023-11-14 22:15:00 UTC at the latest",
            "7               batch  root        old       fake  unknown                  held",
            f"7               batch  root        told      fake  {SINCE}  told to end",
            f"12 (restart 2)  0      4000000000  left      fake  {SINCE}  held, its step is gone",
        ],
    )


SINCE = "2023-11-14 22:13:20 UTC"


def test_status_shows_what_is_there_for_its_record(node: Node, alive: Owner) -> None:
    node.hold("a", owner=alive, token=None, holds_nothing=True)
    node.hold("b", token=None, holds_nothing=True)
    node.hold("c", token=None, record="{}", is_over=True)
    _, [_, *lines] = node.run("status")
    assert [line.partition(SINCE)[2].strip() for line in lines] == [
        "in use, nothing is held",
        "in use, nothing is held, its step is gone",
        "over, its record is not written yet, its step is gone",
    ]


def test_status_for_programs(node: Node) -> None:
    node.hold("a", failure="no answer", failed_at=NOW + 60, failures=3)
    node.hold("b", token=None)
    (node.folder / "8-0-0-0123456789abcdef.json").write_text("{")
    status, [line] = node.run("status", "--json")
    document = orjson.loads(line)
    expected = {
        "job_id": 7,
        "restart_count": 0,
        "step": "batch",
        "uid": 0,
        "resource": "a",
        "type": TYPE,
        "state": "release failed",
        "acquired_at": NOW,
        "is_orphaned": True,
        "reason": "no answer",
        "failed_at": NOW + 60,
        "failures": 3,
        "ends_at": None,
    }
    unanswered = {"resource": "b", "state": "never answered", "reason": "", "failed_at": None}
    unanswered |= {"failures": 0, "ends_at": NOW + 100}
    assert (status, document["entries"]) == (0, [expected, expected | unanswered])
    [unreadable] = document["unreadable"]
    assert unreadable.startswith(f"{node.folder}/8-0-0-0123456789abcdef.json: is no entry of this")


def test_status_of_a_node_that_holds_nothing(node: Node) -> None:
    assert node.run("status") == (0, ["nothing is held on this node"])
    assert node.run("status", "--json") == (0, ['{"entries":[],"unreadable":[]}'])
    assert node.run("release", "--all") == (0, [])


def test_status_shows_what_cannot_be_read(node: Node) -> None:
    node.hold("a")
    (node.folder / "8-0-0-0123456789abcdef.json").write_text("{")
    status, [_, row, line] = node.run("status")
    assert (status, row.split()[3]) == (0, "a")
    assert line.startswith(f"{node.folder}/8-0-0-0123456789abcdef.json: is no entry of this")


def test_hostile_names_do_not_reach_the_terminal(node: Node) -> None:
    node.hold("a\n\x1b[2J")
    _, [_, row] = node.run("status")
    assert "a??[2J" in row
    assert node.run("release", "--all") == (0, ["job 7: a??[2J: released"])


def test_release_of_orphans(node: Node, alive: Owner, vendor: FakeVendor) -> None:
    node.hold("gone")
    node.hold("down")
    node.hold("alive", owner=alive)
    node.hold("coming", owner=alive, token=None)
    node.hold("unknown", owner=None)
    node.hold("told", token=None, failure="cut off", ends_at=4_000_000_000)
    node.hold("ended", token=None, failure="cut off")
    vendor.orders = {"release token-down": ReleaseError("no answer")}
    status, lines = node.run("release", "--orphaned")
    assert (status, sorted(lines)) == (
        1,
        [
            "job 7: down: failed: no answer",
            "job 7: ended: has ended by itself",
            "job 7: gone: released",
        ],
    )
    assert node.held() == ["alive", "coming", "down", "told", "unknown"]


def test_what_failed_lately_is_left_alone_by_the_timer(node: Node, vendor: FakeVendor) -> None:
    now = int(time.time())
    node.hold("lately", failure="down", failed_at=now - 400, failures=2, ends_at=now + 5000)
    node.hold("due", failure="down", failed_at=now - 400, failures=1)
    assert node.run("release", "--orphaned", "--due") == (0, ["job 7: due: released"])
    assert node.run("release", "--orphaned") == (0, ["job 7: lately: released"])


def test_what_is_over_at_a_users_endpoint_is_dropped(node: Node, vendor: FakeVendor) -> None:
    node.hold("own", uid=4_000_000_000, has_users_endpoint=True)
    dropped = "job 7: own: dropped: its endpoint is of user 4000000000, and its time is over"
    assert node.run("release", "--orphaned") == (0, [dropped])
    assert vendor.events == []


def test_half_of_the_time_is_left_behind_what_hangs(
    node: Node, vendor: FakeVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadlines: list[float] = []

    def services(_: LocalNetwork, deadline: Deadline, __: object) -> None:
        deadlines.append(deadline.remaining_seconds())
        raise ReleaseError("down")

    monkeypatch.setattr(LocalNetwork, "services", services)
    node.hold("a")
    assert node.run("release", "--orphaned", "--timeout=30") == (1, ["job 7: a: failed: down"])
    assert 14 < deadlines[0] <= 15


def test_secrets_of_files_are_shown_nowhere(
    node: Node, vendor: FakeVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker of a step masks them too, see job/test_verbs.py."""
    values = {"QRMI_PLAIN": SECRET}
    node.hold("down", values=values, secret_keys=["QRMI_PLAIN"])
    vendor.orders = {"release token-down": ReleaseError(f"refused {SECRET}")}

    def fail_to_write(*_: object) -> None:
        message = f"cannot write {SECRET}"
        raise JournalError(message)

    monkeypatch.setattr(LockedEntry, "write", fail_to_write)
    assert node.run("release", "--all") == (
        1,
        ["job 7: down: failed: refused ****", "spank-qrmi: cannot write ****"],
    )


def test_release_of_a_job(node: Node, alive: Owner) -> None:
    node.hold("a", owner=alive)
    node.hold("b", restart_count=3, step_id=1)
    node.hold("c", job_id=77)
    status, lines = node.run("release", "--job", "7")
    assert (status, sorted(lines)) == (0, ["job 7: a: released", "job 7: b: released"])
    assert node.held() == ["c"]


def test_release_of_everything(node: Node, alive: Owner, vendor: FakeVendor) -> None:
    node.hold("a", owner=alive)
    node.hold("b", owner=alive, token=None)
    (node.folder / "8-0-0-0123456789abcdef.json").write_text("{")
    status, [first, second, third] = node.run("release", "--all", "--timeout", "5")
    assert (status, first, second) == (
        1,
        "job 7: a: released",
        "job 7: b: skipped: its step is still acquiring it",
    )
    assert third.startswith(f"failed: {node.folder}/8-0-0-0123456789abcdef.json: is no entry of")
    assert node.held() == ["b"]


@pytest.mark.parametrize("command", [["status"], ["metrics"], ["release", "--all"]])
def test_only_root_may(node: Node, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    line = "spank-qrmi: only root may see and release what jobs hold: run it as root"
    assert node.run(*command) == (1, [line])


@pytest.mark.parametrize(
    ("command", "step"),
    [(["status"], "inventory.lines_of"), (["release", "--all"], "_release_with")],
)
def test_limits_are_those_of_the_worker(command: list[str], step: str, tmp_path: Path) -> None:
    program = f"""
import resource
from spank_qrmi.admin import command, held
from spank_qrmi.worker import process
from tests.unit.local_network import LocalNetwork

def show_limits(*_):
    print({{kind: resource.getrlimit(kind) for kind in process.WORKER_LIMITS}} == {{
        kind: (value, value) for kind, value in process.WORKER_LIMITS.items()
    }})
    return []

held.os.geteuid = lambda: 0
held.refuse_untrusted_code = lambda *_: None
process.start_network_process = LocalNetwork
held.{step} = show_limits
command.main({[*command, f"--state-dir={tmp_path / 'journal'}"]})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_command_asks_nothing_itself(tmp_path: Path) -> None:
    program = f"""{ASK}
from spank_qrmi.admin import command, held
from spank_qrmi.worker import process
from tests.unit.local_network import LocalNetwork

held.os.geteuid = lambda: 0
held.refuse_untrusted_code = lambda *_: None
process.start_network_process = LocalNetwork
held._release_with = lambda *_: print(set(refusals().values()))
command.main({["release", "--all", f"--state-dir={tmp_path / 'journal'}"]})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("{'refused'}\n", "")


@pytest.mark.parametrize("command", [["status"], ["release", "--all"]])
def test_folder_that_others_can_write_is_refused(node: Node, command: list[str]) -> None:
    node.folder.mkdir()
    node.folder.chmod(0o777)
    status, [line] = node.run(*command)
    assert status == 1
    assert line.startswith(f"spank-qrmi: {node.folder}: must be writable by its owner alone")


@pytest.mark.parametrize(
    "arguments",
    [
        ["release"],
        ["release", "--all", "--orphaned"],
        ["release", "--job"],
        ["release", "--job", "x"],
    ],
)
def test_unusable_options(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: spank-qrmi release" in capsys.readouterr().err


def test_unusable_timeout(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("0", "86401", "x", "1_0"):
        with pytest.raises(SystemExit):
            pytest.fail(f"{text!r} was taken: {main(['release', '--all', '--timeout', text])}")
        line = f"--timeout: it must be a whole number of seconds from 1 to 86400, got {text!r}\n"
        assert capsys.readouterr().err.endswith(line), text


def test_session_at_the_service_is_closed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site()
    with running_in_thread(site) as base_url:
        write_config(tmp_path / "qrmi_config.json", site_config(base_url))
        config = load_config(tmp_path / "qrmi_config.json", CLIENTS)
        resource = config.resources["ibm_sherbrooke"]
        session = site.open_session(
            Account(API_KEY, SERVICE_CRN), "ibm_sherbrooke", "dedicated", 600
        )
        node = Node(tmp_path / "journal", capsys)
        node.hold(
            resource.name,
            resource_type=resource.type,
            values=dict(resource.environment),
            token=session.session_id,
        )
        assert node.run("release", "--orphaned") == (0, ["job 7: ibm_sherbrooke: released"])
        assert site.sessions()[0].accepting_jobs is False


def test_what_asks_services_is_imported_for_those_subcommands_alone() -> None:
    program = (
        "import sys\nfrom spank_qrmi.admin import command\n"
        "print([each for each in ('httpx', 'ssl') if each in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
