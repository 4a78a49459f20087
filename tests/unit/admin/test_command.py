# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node holds, shown and given back, and how the command becomes the simulated site."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock, patch

import orjson
import pytest

from spank_qrmi import __version__
from spank_qrmi.admin import held
from spank_qrmi.admin.command import main
from spank_qrmi.errors import JournalError, QrmiError, ReleaseError, UntrustedPathError
from spank_qrmi.state.journal import LockedEntry
from spank_qrmi.state.token_cache import TokenCache
from spank_qrmi.worker.process import WORKER_LIMITS
from tests.unit.admin.conftest import ALIVE, NOW, SECRET, HeldNode
from tests.unit.fake_vendor import TYPE, FakeVendor
from tests.unit.local_network import LocalNetwork
from tests.unit.trust.test_privileges import ASK

SINCE = "2023-11-14 22:13:20 UTC"

pytestmark = pytest.mark.usefixtures("vendor")


def test_arguments_of_the_plugin_are_those_of_plugstack_conf(
    node: HeldNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalNetwork, "open", opened := Mock())
    plugstack, other = tmp_path / "plugstack.conf", f"--state-dir={tmp_path}/other"
    plugstack.write_text(
        f"optional spank_qrmi.so {other}\n"
        f"optional /lib/spank_qrmi.so /etc/q.json --state-dir={node.folder} --worker-user=4711\n"
        f"optional spank_qrmi.so /etc/other.json {other}\noptional spank_ibm_qrun.so {other}\n"
    )
    (tmp_path / "slurm.conf").write_text("ClusterName=a\n")
    for name in "abc":
        node.hold(name)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    for arguments in ([], ["--worker-user=99"]):
        assert node.run_as_said("release", "--all", *arguments)[0] == 0
        node.hold("a")
    monkeypatch.setenv("SLURM_CONF", os.devnull)
    status, lines = node.run_as_said("release", "--all", f"--plugstack={plugstack}")
    assert (status, lines, node.held()) == (0, ["job 7: a: released"], [])
    assert [call.args[1] for call in opened.call_args_list] == ["4711", "99", "4711"]
    plugstack.write_text("optional spank_qrmi.so /etc/q.json --stat-dir=/x\n")
    status, [line] = node.run_as_said("status", f"--plugstack={plugstack}")
    assert (status, "argument '--stat-dir=…' is not known" in line) == (1, True)


def test_status_is_a_table(node: HeldNode) -> None:
    node.hold("held", owner=ALIVE)
    node.hold("left", job_id=12, restart_count=2, step_id=0, uid=4_000_000_000)
    node.hold("coming", owner=ALIVE, token=None)
    node.hold("lost", token=None, failure="cut off", failed_at=NOW, failures=1)
    node.hold("lost too", token=None)
    node.hold("down", failure="no answer", failed_at=NOW + 60, failures=3, owner=None)
    node.hold("old", acquired_at=None, owner=None)
    node.hold("told", owner=ALIVE, is_told=True)
    node.hold("used", owner=ALIVE, token=None, holds_nothing=True)
    node.hold("used too", token=None, holds_nothing=True)
    node.hold("over", token=None, record="{}", is_over=True)
    last = "release failed, 3 times, last 2023-11-14 22:14:20 UTC: no answer"
    lost = "never answered, its step is gone"
    may_be_open = "a session may be open until 2023-11-14 22:15:00 UTC at the latest"
    over = "over, its record is not written yet, its step is gone"
    used = "in use, nothing is held"
    assert node.run("status") == (
        0,
        [
            "JOB             STEP   USER        RESOURCE  TYPE  SINCE                    STATE",
            f"7               batch  root        coming    fake  {SINCE}  being acquired",
            f"7               batch  root        down      fake  {SINCE}  {last}",
            f"7               batch  root        held      fake  {SINCE}  held",
            f"7               batch  root        lost      fake  {SINCE}  {lost}: cut off",
            f"7               batch  root        lost too  fake  {SINCE}  {lost}: {may_be_open}",
            "7               batch  root        old       fake  unknown                  held",
            f"7               batch  root        over      fake  {SINCE}  {over}",
            f"7               batch  root        told      fake  {SINCE}  told to end",
            f"7               batch  root        used      fake  {SINCE}  {used}",
            f"7               batch  root        used too  fake  {SINCE}  {used}, its step is gone",
            f"12 (restart 2)  0      4000000000  left      fake  {SINCE}  held, its step is gone",
        ],
    )


def test_status_for_programs_and_of_a_node_that_holds_nothing(node: HeldNode) -> None:
    assert node.run("status") == (0, ["nothing is held on this node"])
    assert node.run("status", "--json") == (0, ['{"entries":[],"unreadable":[]}'])
    assert node.run("release", "--all") == (0, [])
    node.hold("a", failure="no answer", failed_at=NOW + 60, failures=3)
    node.hold("b", token=None)
    told = node.spoil()
    status, [line] = node.run("status", "--json")
    document = orjson.loads(line)
    expected = {"job_id": 7, "restart_count": 0, "step": "batch", "uid": 0, "resource": "a"}
    expected |= {"type": TYPE, "state": "release failed", "acquired_at": NOW, "is_orphaned": True}
    expected |= {"reason": "no answer", "failed_at": NOW + 60, "failures": 3, "ends_at": None}
    unanswered = {"resource": "b", "state": "never answered", "reason": "", "failed_at": None}
    unanswered |= {"failures": 0, "ends_at": NOW + 100}
    assert (status, document["entries"]) == (0, [expected, expected | unanswered])
    [unreadable] = document["unreadable"]
    assert unreadable.startswith(told)


def test_hostile_names_do_not_reach_the_terminal_beside_what_cannot_be_read(node: HeldNode) -> None:
    node.hold("a\n\x1b[2J")
    told = node.spoil()
    status, [_, row, line] = node.run("status")
    assert (status, row.split()[3], line.startswith(told)) == (0, "a??[2J", True)
    status, [released, failed] = node.run("release", "--all")
    assert (status, released) == (1, "job 7: a??[2J: released")
    assert failed.startswith(f"failed: {told}")


def test_release_of_orphans(node: HeldNode, vendor: FakeVendor) -> None:
    node.hold("gone")
    node.hold("down")
    node.hold("alive", owner=ALIVE)
    node.hold("coming", owner=ALIVE, token=None)
    node.hold("unknown", owner=None)
    node.hold("told", token=None, failure="cut off", ends_at=4_000_000_000)
    node.hold("ended", token=None, failure="cut off")
    vendor.orders = {"release token-down": ReleaseError("no answer")}
    status, lines = node.run("release", "--orphaned")
    told = ["down: failed: no answer", "ended: has ended by itself", "gone: released"]
    assert (status, sorted(lines)) == (1, [f"job 7: {each}" for each in told])
    assert node.held() == ["alive", "coming", "down", "told", "unknown"]


def test_timer_leaves_what_failed_lately_and_half_of_the_time(node: HeldNode) -> None:
    now = int(time.time())
    node.hold("lately", failure="down", failed_at=now - 400, failures=2, ends_at=now + 5000)
    node.hold("due", failure="down", failed_at=now - 400, failures=1)
    assert node.run("release", "--orphaned", "--due") == (0, ["job 7: due: released"])
    told = ["job 7: lately: failed: down"]
    with patch.object(LocalNetwork, "services", side_effect=ReleaseError("down")) as services:
        assert node.run("release", "--orphaned", "--timeout=30") == (1, told)
    [deadline, _] = services.call_args.args
    assert 10 < deadline.remaining_seconds() <= 15


def test_what_is_over_at_a_users_endpoint_is_dropped(node: HeldNode, vendor: FakeVendor) -> None:
    node.hold("own", uid=4_000_000_000, has_users_endpoint=True)
    dropped = "job 7: own: dropped: its endpoint is of user 4000000000, and its time is over"
    assert node.run("release", "--orphaned") == (0, [dropped])
    assert vendor.events == []


def test_secrets_of_files_and_access_tokens_are_shown_nowhere(
    node: HeldNode, vendor: FakeVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker of a step masks them too, see job/test_verbs.py."""
    node.hold("down", values={"QRMI_PLAIN": SECRET}, secret_keys=["QRMI_PLAIN"])
    vendor.orders = {"release token-down": ReleaseError(f"refused {SECRET}")}

    told = ["job 7: down: failed: refused ****", "spank-qrmi: cannot write ****"]
    with patch.object(LockedEntry, "write", side_effect=JournalError(f"cannot write {SECRET}")):
        assert node.run("release", "--all") == (1, told)

    class Network(LocalNetwork):
        def open(self, *_: object, token_cache: TokenCache | None = None, **__: object) -> None:
            assert token_cache is not None
            token_cache.hide(["access-token"])
            raise QrmiError("the service said access-token")

    monkeypatch.setattr(held, "fork_network_process", Network)
    assert node.run("release", "--all") == (1, ["spank-qrmi: the service said ****"])


def test_release_of_a_job_and_of_everything(node: HeldNode) -> None:
    node.hold("a", owner=ALIVE)
    node.hold("b", restart_count=3, step_id=1)
    node.hold("c", owner=ALIVE, job_id=77)
    node.hold("d", owner=ALIVE, job_id=77, token=None)
    status, lines = node.run("release", "--job", "7")
    assert (status, sorted(lines)) == (0, ["job 7: a: released", "job 7: b: released"])
    assert node.held() == ["c", "d"]
    told = ["c: released", "d: skipped: its step is still acquiring it"]
    released = node.run("release", "--all", "--timeout", "5")
    assert released == (0, [f"job 77: {each}" for each in told])
    assert node.held() == ["d"]


def test_only_root_may_with_code_that_is_roots_alone(
    node: HeldNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse = Mock(side_effect=UntrustedPathError("open to all"))
    monkeypatch.setattr(held, "refuse_untrusted_code", refuse)
    monkeypatch.setattr(held, "fork_network_process", None)
    assert node.run("release", "--all") == (1, ["spank-qrmi: open to all"])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    line = "spank-qrmi: only root may see and release what jobs hold: run it as root"
    for command in ("status", "metrics", "release --all"):
        assert node.run(*command.split()) == (1, [line]), command


def test_release_has_the_limits_of_the_worker_and_asks_nothing_itself(tmp_path: Path) -> None:
    program = f"""{ASK}
import resource
from spank_qrmi.admin import command, held
from spank_qrmi.worker import process
from tests.unit.local_network import LocalNetwork

def show(*_):
    print({{kind: resource.getrlimit(kind) for kind in process.WORKER_LIMITS}} == {{
        kind: (value, value) for kind, value in process.WORKER_LIMITS.items()
    }}, set(refusals().values()))

held.os.geteuid = lambda: 0
held.refuse_untrusted_code = lambda *_: None
process.start_network_process = LocalNetwork
held._release_with = show
command.main(["release", "--all", {f"--state-dir={tmp_path / 'journal'}"!r}])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("True {'refused'}\n", "")


def test_what_only_reads_has_the_limits_of_the_worker_before(node: HeldNode) -> None:
    node.folder.mkdir()
    # So reading it would be told.
    node.folder.chmod(0o777)
    for command in ("status", "metrics"):
        with patch.object(held.privileges, "limit", side_effect=QrmiError("limited")) as limit:
            assert node.run(command) == (1, ["spank-qrmi: limited"]), command
        limit.assert_called_once_with(WORKER_LIMITS)


def test_unusable_options(capsys: pytest.CaptureFixture[str]) -> None:
    for options in ("", "--all --orphaned", "--job", "--job x", "--all --timeout 0"):
        with pytest.raises(SystemExit) as caught:
            main(["release", *options.split()])
        told = capsys.readouterr().err
        assert (caught.value.code, "usage: spank-qrmi release" in told) == (2, True), options
    assert told.endswith(
        "--timeout: it must be a whole number of seconds from 1 to 86400, got '0'\n"
    )


def test_it_becomes_the_simulator_or_names_the_file_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, command: become.append([program, *command]))
    python = sys.executable
    for arguments in ([], ["--help"], ["--port", "80", "--write-config=a", "--noise"]):
        main(["simulate", *arguments])
        assert become.pop() == [python, python, "-I", "-m", "spank_qrmi_simulator", *arguments]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert main(["simulate", "--noise"]) == 1
    assert capsys.readouterr().err == (
        "spank-qrmi: the simulated site is a package of its own: install the file "
        f"spank_qrmi_simulator-{__version__}-py3-none-any.whl of this release beside spank-qrmi\n"
    )
