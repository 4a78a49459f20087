# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the process behind an acquisition has ended: certain, or taken as alive."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spank_qrmi.state.owner import is_gone, owner_of
from spank_qrmi.trust import proc as proc_files


class FakeProc:
    """A /proc of one boot and one namespace, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "sys/kernel/random").mkdir(parents=True)
        (folder / "self/ns").mkdir(parents=True)
        (folder / "self/ns/pid").touch()
        self.boot = folder / "sys/kernel/random/boot_id"
        self.boot.write_text("this-boot\n")
        self.start(1, 5)

    def start(self, pid: int, ticks: int, name: str = "slurmstepd", state: str = "S") -> None:
        self.stat_of(pid).parent.mkdir(exist_ok=True)
        fields = " ".join([state, *["0"] * 18, str(ticks), "0", "0"])
        self.stat_of(pid).write_text(f"{pid} ({name}) {fields}\n")

    def stat_of(self, pid: int) -> Path:
        return self.folder / str(pid) / "stat"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProc:
    proc = FakeProc(tmp_path)
    monkeypatch.setattr(proc_files, "ROOT", str(tmp_path))
    return proc


def test_process_that_runs_is_not_gone(proc: FakeProc) -> None:
    for name in ("slurmstepd", "a b", "a) S 0 (b", ") Z"):
        proc.start(7, 1234, name)
        owner = owner_of(7)
        assert (owner.boot_id, owner.pid, owner.started_ticks) == ("this-boot", 7, 1234), name
        assert not is_gone(owner), name


def test_process_is_gone_once_it_has_ended(proc: FakeProc) -> None:
    ends: dict[str, Callable[[], object]] = {
        "reaped": lambda: proc.stat_of(7).unlink(),
        "not reaped": lambda: proc.start(7, 1234, state="Z"),
        "dead": lambda: proc.start(7, 1234, state="X"),
        "another has its number": lambda: proc.start(7, 1235),
        "another boot": lambda: proc.boot.write_text("next-boot\n"),
        "what is told of it means nothing": lambda: proc.stat_of(7).write_text("7 (x) S"),
    }
    for what, end in ends.items():
        proc.start(7, 1234)
        owner = owner_of(7)
        end()
        assert is_gone(owner), what
    assert owner_of(7).started_ticks == 0


def test_boot_is_what_the_first_process_sees(proc: FakeProc) -> None:
    proc.start(7, 1234)
    owner = owner_of(7)
    of_container = proc.folder / "1/root/proc/sys/kernel/random/boot_id"
    of_container.parent.mkdir(parents=True)
    of_container.write_text("this-boot\n")
    proc.boot.write_text("boot-of-the-host\n")
    assert owner_of(7) == owner
    assert not is_gone(owner)


def test_process_that_was_gone_before_it_was_asked_for_stays_so_where_that_can_be_told(
    proc: FakeProc,
) -> None:
    """An entry that is left too long costs money; one that is taken from a job costs the job."""
    owner = owner_of(7)
    assert is_gone(owner)
    proc.start(7, 1234)
    assert is_gone(owner)
    assert not is_gone(replace(owner, pid_namespace=owner.pid_namespace + 1))
    assert not is_gone(replace(owner, boot_id=""))
    assert not is_gone(replace(owner, host="another", boot_id="another"))
    proc.stat_of(1).unlink()
    assert not is_gone(owner)
    proc.boot.unlink()
    assert not is_gone(owner)


def test_real_processes() -> None:
    assert not is_gone(owner_of(os.getpid()))
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        other = owner_of(process.pid)
        assert not is_gone(other)
    finally:
        process.kill()
        process.communicate(timeout=60)
    assert is_gone(other)
