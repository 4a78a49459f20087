# SPDX-License-Identifier: GPL-3.0-or-later
"""The slurmd of a node is found among all processes, with its start and its release."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spank_qrmi.check import slurmd
from spank_qrmi.trust import proc

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="it looks for processes of root's")

# A process has the name of what it was started from.
NAMED = """
import os, sys, time
with open("/proc/self/comm", "w") as file:
    file.write(sys.argv[1])
print("ready", flush=True)
time.sleep(600)
"""


@contextmanager
def process(name: str, *words: str, uid: int = 0, **variables: str) -> Iterator[int]:
    """Run something of this name."""
    # Another user may be kept out of the folder with our environment.
    python = os.path.realpath(sys.executable)
    started = subprocess.Popen(
        [python, "-c", NAMED, name, *words], stdout=subprocess.PIPE, env=variables, user=uid
    )
    try:
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        yield started.pid
    finally:
        started.kill()
        started.communicate()


def pids(slurm_conf: Path) -> set[int]:
    return {each.pid for each in slurmd.find_slurmds(slurm_conf)}


def test_slurmd_is_known_by_its_slurm_conf(tmp_path: Path) -> None:
    conf, link = tmp_path / "slurm.conf", tmp_path / "link.conf"
    conf.touch()
    link.symlink_to(conf)
    with (
        process("slurmd", SLURM_CONF=str(conf)) as by_variable,
        process("slurmd", "-D", "-f", str(link), SLURM_CONF="/nowhere") as by_option,
        process("slurmd", "-f/nowhere/slurm.conf"),
        process("slurmctld", SLURM_CONF=str(conf)),
        process("slurmd", uid=65534, SLURM_CONF=str(conf)),
        process("slurmd") as told_nothing,
    ):
        assert pids(conf) == {by_variable, by_option}
        assert told_nothing in pids(tmp_path / "other.conf")


def test_start_is_told_in_unix_seconds(tmp_path: Path) -> None:
    before = time.time()
    with process("slurmd", SLURM_CONF=str(tmp_path)):
        [found] = slurmd.find_slurmds(tmp_path)
        assert before - 1 <= found.started_at <= time.time() + 1


def test_process_that_ends_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "17").mkdir()
    (tmp_path / "18").mkdir()
    (tmp_path / "18" / "comm").write_text("slurmd\n")
    (tmp_path / "uptime").touch()
    monkeypatch.setattr(proc, "ROOT", str(tmp_path))
    assert slurmd.find_slurmds(tmp_path) == []


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, mode: int = 0o755) -> None:
    """Have a slurmd in the second of the folders where it is looked for."""
    path = folder / "slurmd"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    monkeypatch.setattr(slurmd, "_FOLDERS", ("/nowhere", str(folder)))


def test_release_is_what_slurmd_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    releases: dict[str, str | None]
    releases = {"slurm-wlm 22.05.8": "22.05", "slurm 24.11.5-1": "24.11"}
    releases |= {"": None, "version 3": None}
    for printed, expected in releases.items():
        program(tmp_path, monkeypatch, f"echo '{printed}'")
        assert slurmd.slurm_release([]) == expected, printed


def test_program_that_others_could_replace_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, monkeypatch, f"touch {tmp_path}/ran; echo slurm 22.05.8", mode=0o777)
    assert slurmd.slurm_release([]) is None
    assert not (tmp_path / "ran").exists()


def test_program_that_hangs_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, monkeypatch, "exec sleep 600")
    monkeypatch.setattr(slurmd, "_VERSION_SECONDS", 0.2)
    assert slurmd.slurm_release([]) is None
