# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of users and groups: what getent(1) tells of them, who it is, and when it is ended."""

import grp
import os
import pwd
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import NameServiceError
from spank_qrmi.trust import name_service
from spank_qrmi.trust.name_service import Found, Kind, NameService, number_of
from tests.unit.outcomes import refusal_of

Write = Callable[[str], Path]


@pytest.fixture
def getent(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """What puts a shell script in the place of getent; returns its folder."""

    def write(script: str) -> Path:
        path = open_folder / "getent"
        path.write_text(f'#!/bin/sh\nfolder="${{0%/*}}"\n{script}\n')
        path.chmod(0o755)
        monkeypatch.setattr(name_service, "_GETENT", str(path))
        return open_folder

    return write


def names() -> NameService:
    return NameService(Deadline(600))


def test_names_have_the_numbers_that_the_system_knows() -> None:
    nobody = pwd.getpwuid(65534).pw_name
    service = names()
    assert service.ids_of(Kind.USER, ["root", nobody]) == Found(frozenset({0, 65534}), True)
    assert service.ids_of(Kind.GROUP, ["daemon"]).ids == {grp.getgrnam("daemon").gr_gid}
    assert service.ids_of(Kind.USER, ["root", "no-such-user"]) == Found(frozenset({0}), False)
    assert service.ids_of(Kind.USER, ["-h"]) == Found(frozenset(), False)


def test_numbers_are_not_looked_up(getent: Write) -> None:
    getent("exit 7")
    found = names().ids_of(Kind.USER, ["1000", "4294967294"])
    assert found == Found(frozenset({1000, 4294967294}), True)
    assert names().ids_of(Kind.GROUP, []) == Found(frozenset(), True)
    texts = ("4294967295", "1e3", "+1", "", "\u0661")
    assert {text: number_of(text) for text in texts} == dict.fromkeys(texts)


def test_failure_is_told_and_lines_that_are_none_of_a_user_are_left_out(
    getent: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = getent(r"printf 'a:x:17:0::/:\nnonsense\nb:x:-1:0\nc:x:18\n\377:x:19:\n\n'")
    assert names().ids_of(Kind.USER, ["a"]).ids == {17, 18, 19}
    getent("exit 3")
    cannot = "this node cannot look groups up"
    reason = refusal_of(NameServiceError, names().ids_of, Kind.GROUP, ["a"])
    assert reason == f"{cannot}: {folder}/getent ended with status 3"
    monkeypatch.setattr(name_service, "_GETENT", "/nowhere/getent")
    reason = refusal_of(NameServiceError, names().ids_of, Kind.GROUP, ["a"])
    assert reason == f"{cannot}: /nowhere/getent cannot be started (No such file or directory)"


def test_list_is_asked_for_once(getent: Write) -> None:
    folder = getent('echo "$@" >>"$folder/asked/lines"; echo a:x:17:; exit 2')
    asked = folder / "asked"
    asked.mkdir()
    asked.chmod(0o777)
    service = names()
    for _ in range(3):
        assert service.ids_of(Kind.GROUP, ["a", "7", "b"]) == Found(frozenset({7, 17}), False)
    service.ids_of(Kind.USER, ["a", "b"])
    assert (asked / "lines").read_text() == "group -- a b\npasswd -- a b\n"


def test_what_asks_is_nobody_and_inherits_nothing(
    getent: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD_OF_A_TEST", "x")
    folder = getent("id -u; id -G; env; ls -l /proc/self/fd; exec >/dev/null; exit 0")
    outputs: list[bytes] = []
    monkeypatch.setattr(name_service, "_ids_in", lambda text: outputs.append(text) or frozenset())
    with (folder / "getent").open():
        names().ids_of(Kind.USER, ["a"])
    lines = str(outputs[0]).splitlines()
    if os.geteuid() == 0:
        assert lines[:2] == ["65534", "65534"]
    assert not any(line.startswith("LD_PRELOAD") for line in lines)
    assert not any(str(folder) in line and "->" in line and "getent" in line for line in lines)


def test_one_that_hangs_is_ended_in_time(getent: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    getent("exec sleep 600")
    deadline = Deadline(2.0)
    assert refusal_of(NameServiceError, NameService(deadline).ids_of, Kind.USER, ["a"])
    # Half of the time is left for the rest.
    assert not deadline.has_passed()
    monkeypatch.setattr(name_service, "LOOK_UP_SECONDS", 0.2)
    service = names()
    for kind, what in ((Kind.USER, "users"), (Kind.GROUP, "groups")):
        reason = refusal_of(NameServiceError, service.ids_of, kind, ["a"])
        assert reason == f"this node's name services did not tell its {what} in time"
    left = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not any(b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left)


def test_cancelled_work_does_not_wait_for_it(getent: Write) -> None:
    folder = getent('echo $$ >"$folder/pipe"; exec sleep 600')
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    deadline = Deadline(600)
    reader = threading.Thread(target=lambda: pipe.read_text() and deadline.cancel(), daemon=True)
    reader.start()
    reason = refusal_of(NameServiceError, NameService(deadline).ids_of, Kind.USER, ["a"])
    reader.join()
    # The cancellation may come before, or while, its output is waited for.
    ended = f"this node cannot look users up: {folder}/getent ended with status -9"
    assert reason in {ended, "this node's name services did not tell its users in time"}
