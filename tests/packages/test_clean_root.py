# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands inside of a root see what they are to see, and leave no mount and nothing outside."""

import os
import subprocess
from pathlib import Path

import pytest
from clean_root.inside import run_inside

from loopback.processes import processes_naming
from loopback.waiting import wait_until
from tests.packages.conftest import Machine


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    folder = tmp_path / "folder" / "shown"
    folder.mkdir(parents=True)
    (folder / "file").write_text("content")
    return folder


def inside(machine: Machine, path: Path) -> Path:
    return machine.root / path.relative_to("/")


def test_shown_folder_is_there_for_the_command_alone(machine: Machine, shown: Path) -> None:
    script = f"cat {shown}/file; echo more >{shown}/file"

    done = run_inside(machine.root, ["sh", "-c", script], show=[shown], keep_tmp=True)

    assert (done.stdout, done.returncode) == ("content", 2)
    assert "Read-only file system" in done.stderr
    assert list(inside(machine, shown).iterdir()) == []


def test_link_in_the_root_does_not_lead_out_of_it(
    machine: Machine, shown: Path, tmp_path: Path
) -> None:
    link, elsewhere = inside(machine, shown.parent), tmp_path / "elsewhere"
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    files = [shown, shown / "file"]

    done = run_inside(machine.root, ["cat", str(shown / "file")], show=files, keep_tmp=True)

    assert (done.stdout, done.stderr) == ("content", "")
    assert not elsewhere.exists()
    assert inside(machine, elsewhere / "shown").is_dir()


def test_temporary_folder_is_new_or_kept(machine: Machine) -> None:
    for keep_tmp, left in ((False, []), (True, ["file"])):
        run_inside(machine.root, ["touch", "/tmp/file"], keep_tmp=keep_tmp)
        assert [path.name for path in (machine.root / "tmp").iterdir()] == left


def test_command_that_takes_too_long_takes_its_children_along(machine: Machine) -> None:
    # No other process has these words.
    sleep = f"sleep 600.{os.getpid()}"
    with pytest.raises(subprocess.TimeoutExpired):
        run_inside(machine.root, ["sh", "-c", f"{sleep} & {sleep}"], timeout_seconds=1)

    wait_until(lambda: not processes_naming(sleep.split()[1]), 10, "end of the processes")
