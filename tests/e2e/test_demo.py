# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo` and `make demo-stop`, as a newcomer meets them."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.installation import REPOSITORY
from tests.slurm.product import processes_naming

DEMO_SECONDS = 600
TIME_LIMIT_SECONDS = 600
"""The time limit in examples/two_qpus.sh; a session gets what is left of it."""


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Path]:
    """The lock of a kept demonstration of this test's own."""
    lock = tmp_path / "demo.lock"
    yield lock
    demo("stop", lock)


def demo(action: str, lock: Path) -> str:
    """Do what the make targets do; return the output."""
    done = subprocess.run(
        [sys.executable, "-m", "loopback.demo", action, str(lock)],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def folder_of(output: str) -> Path:
    """Return the folder in which a demonstration has run."""
    match = re.search(r"(/tmp/spank-qrmi-demo-\w+)/", output)
    assert match, output
    return Path(match[1])


def test_demonstration_leaves_nothing_behind(slurm_installed: None, tmp_path: Path):
    output = demo("run", tmp_path / "demo.lock")

    assert "QRMI_JOB_QPU_RESOURCES=ibm_sherbrooke,FRESNEL" in output
    assert re.search(r"^  11 +\d+  #+$", output, re.MULTILINE)
    session = re.search(r"dedicated session of at most (\d+) s, closed after", output)
    assert session, output
    assert 0 < int(session[1]) <= TIME_LIMIT_SECONDS
    assert re.search(r"^register meas\n  00 +\d+  #+\n  11 +\d+  #+$", output, re.MULTILINE)
    assert "jobs that are left on Direct Access: 0\n" in output
    assert output.endswith("== done: nothing is left behind\n")
    assert not folder_of(output).exists()


def test_broken_off_demonstration_leaves_nothing_behind(slurm_installed: None, tmp_path: Path):
    command = [sys.executable, "-m", "loopback.demo", "run", str(tmp_path / "demo.lock")]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        shown = ""
        while "a Slurm cluster is up" not in shown:
            line = process.stdout.readline()
            assert line, shown
            shown += line
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=DEMO_SECONDS)

    assert process.returncode == 1
    assert processes_naming(str(folder_of(shown))) == {}
    assert not folder_of(shown).exists()


def test_kept_demonstration_takes_jobs_of_the_newcomer(slurm_installed: None, lock: Path):
    output = demo("keep", lock)
    commands = re.search(r"^export SLURM_CONF.*?^sbatch", output, re.MULTILINE | re.DOTALL)
    assert commands, output

    script = f"set -e\n{commands[0]} --wait sampler.sh\ncat slurm-*.out"
    mine = subprocess.run(
        ["bash", "-c", script], check=False, capture_output=True, text=True, timeout=DEMO_SECONDS
    )
    assert re.search(r"^  00 +\d+  #+$", mine.stdout, re.MULTILINE), mine.stdout + mine.stderr
    logs = (folder_of(output) / "cluster" / "log").glob("slurmd-*.log")
    assert any("worker of worker server" in log.read_text() for log in logs)

    assert "has ended" in demo("stop", lock)
    assert not folder_of(output).exists()
    assert "no demonstration is up" in demo("stop", lock)
