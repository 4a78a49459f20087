# SPDX-License-Identifier: GPL-3.0-or-later
"""MUNGE credentials: how the command is started, and one line for whatever keeps it from that."""

import os
from pathlib import Path

import pytest

from spank_qrmi.deadline import Deadline
from spank_qrmi.errors import CredentialError
from spank_qrmi.trust import munge
from spank_qrmi.trust.munge import Munge
from tests.unit.munge_credentials import MUNGE_START, write_munge
from tests.unit.outcomes import refusal_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(munge, "FOLDERS", ["/nowhere", str(tmp_path)])
    return tmp_path


def refusal(socket: str | None = None, seconds: float = 60) -> str | None:
    return refusal_of(CredentialError, Munge(socket).make, 1, Deadline(seconds))


def test_each_is_another_and_none_needs_nothing(folder: Path) -> None:
    assert Munge().make(0, Deadline(0)) == []
    write_munge(folder)
    made = Munge().make(5, Deadline(60))
    assert len(set(made)) == 5
    assert all(each.startswith(MUNGE_START) for each in made)


def test_command_has_fixed_words_and_variables(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUNGE_HOSTILE", "1")
    told = folder / "told"
    telling = f'{{ echo "$PWD" "$@"; cat; /usr/bin/env; }} > {told}\necho "{MUNGE_START}:"'
    write_munge(folder, f"#!/bin/sh\n{telling}\n")
    for seconds, life in ((10, "--ttl=70"), (1000, "--ttl=300"), (0.5, "--ttl=61")):
        Munge("/run/m.socket").make(1, Deadline(seconds))
        words, *variables = told.read_text().splitlines()
        assert words == f"/ --no-input {life} --socket=/run/m.socket"
        names = {each.partition("=")[0] for each in variables}
        assert names <= {"LC_ALL", "PATH", "PWD", "SHLVL", "_"}
    Munge().make(1, Deadline(60))
    assert "--socket" not in told.read_text()


def test_node_without_a_munge_that_root_may_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = "no munge on this node: install it, so that /nowhere/munge is there"
    assert refusal() == expected
    (folder / "munge").write_text("not a program")
    assert refusal() == expected
    write_munge(folder, "#!/no/such/interpreter\n")
    assert refusal() == f"{folder}/munge cannot be started: No such file or directory"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    write_munge(folder, f"#!/bin/sh\ntouch {folder}/started\n")
    (folder / "munge").chmod(0o777)
    assert "munge may be changed by " in str(refusal())
    assert not (folder / "started").exists()


def test_munged_that_is_not_there_or_hangs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_munge(folder, "#!/bin/sh\necho MUNGE:partial:\nexit 6\n")
    end = "start it, or name its socket by --munge-socket= in plugstack.conf"
    assert refusal() == f"munged does not answer at its usual socket: {end}"
    assert refusal("/run/m") == f"munged does not answer at /run/m: {end}"
    monkeypatch.setattr(munge, "LONGEST_SECONDS", 0.2)
    write_munge(folder, f'#!/bin/sh\necho "{MUNGE_START}:"\nexec sleep 600\n')
    with pytest.raises(CredentialError) as caught:
        Munge("/run/m").make(1, Deadline(60))
    assert str(caught.value) == "munged does not answer at /run/m in time: restart it"
    assert caught.value.__cause__ is None
    assert refusal(seconds=0) == "no time is left to make a MUNGE credential"


def test_what_is_no_credential_is_not_shown(folder: Path) -> None:
    failing = "echo 'munge: Error: no\033[2J memory' >&2; echo more >&2; exit 1"
    for program, reason in (
        (failing, ": munge: Error: no?[2J memory"),
        ("true", ""),
        (f"echo {MUNGE_START}", ""),
        (f"echo {MUNGE_START}:; echo x", ""),
        (f"echo {MUNGE_START}:; exit 1", ""),
        ("head -c 100000 /dev/zero | tr '\\0' a", ""),
    ):
        write_munge(folder, f"#!/bin/sh\n{program}\n")
        assert refusal() == f"{folder}/munge made no credential{reason}", program
