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


def test_slurmd_is_known_by_its_slurm_conf(tmp_path: Path) -> None:
    conf, link = tmp_path / "slurm.conf", tmp_path / "link.conf"
    conf.touch()
    link.symlink_to(conf)
    before = time.time()
    with (
        process("slurmd", SLURM_CONF=str(conf)) as by_variable,
        process("slurmd", "-D", "-f", str(link), SLURM_CONF="/nowhere") as by_option,
        process("slurmd", "-f/nowhere/slurm.conf"),
        process("slurmctld", SLURM_CONF=str(conf)),
        process("slurmd", uid=65534, SLURM_CONF=str(conf)),
        process("slurmd") as told_nothing,
    ):
        found = {each.pid: each.started_at for each in slurmd.find_slurmds(conf)}
        assert {*found} == {by_variable, by_option}
        assert all(before - 1 <= started_at <= time.time() + 1 for started_at in found.values())
        others = slurmd.find_slurmds(tmp_path / "other.conf")
        assert told_nothing in {each.pid for each in others}


def test_process_that_ends_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "17").mkdir()
    (tmp_path / "18").mkdir()
    (tmp_path / "18" / "comm").write_text("slurmd\n")
    (tmp_path / "uptime").touch()
    monkeypatch.setattr(proc, "ROOT", str(tmp_path))
    assert slurmd.find_slurmds(tmp_path) == []


def test_release_is_what_a_slurmd_says_that_nobody_else_could_replace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurmd, "_FOLDERS", ("/nowhere", str(tmp_path)))
    path, trace = tmp_path / "slurmd", tmp_path / "trace"

    def release(script: str, mode: int = 0o755) -> str | None:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(mode)
        return slurmd.slurm_release([])

    assert release("echo slurm-wlm 22.05.8") == "22.05"
    assert release("echo slurm 24.11.5-1") == "24.11"
    assert release("echo") is None
    assert release("echo version 3") is None
    assert release(f"touch {trace}; echo slurm 22.05.8", mode=0o777) is None
    assert not trace.exists()
    monkeypatch.setattr(slurmd, "_VERSION_SECONDS", 0.2)
    assert release("exec sleep 600") is None
