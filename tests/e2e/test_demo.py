# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo` and `make demo-stop`, as a newcomer meets them."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from loopback.installation import REPOSITORY
from loopback.processes import children_of, end_processes, processes_naming, stepd_pids
from loopback.site import RELEASE_SECONDS
from loopback.waiting import wait_until

DEMO_SECONDS = 600


@pytest.fixture(scope="module")
def kept(slurm_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A demonstration that is up for this module's tests: what it has printed."""
    lock = tmp_path_factory.mktemp("kept") / "demo.lock"
    try:
        output = demo("keep", lock)
        yield output
    finally:
        stopped = demo("stop", lock)
    assert "has ended" in stopped
    assert not folder_of(output).exists()
    assert "no demonstration is up" in demo("stop", lock)


def demo(action: str, lock: Path) -> str:
    """Do what the make targets do; return the output."""
    return output_of(sys.executable, "-m", "loopback.demo", action, str(lock))


def output_of(*command: str) -> str:
    """Run a command in the repository, which must succeed; return its output."""
    done = subprocess.run(
        command,
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
    match = re.search(r"(/tmp/spank-qrmi-demo-\w+)", output)
    assert match, output
    return Path(match[1])


def test_demonstration_leaves_nothing_behind(slurm_installed: None, tmp_path: Path):
    output = demo("run", tmp_path / "demo.lock")

    assert "QRMI_JOB_QPU_RESOURCES=ibm_sherbrooke,FRESNEL" in output
    assert "APIKEY=****" in output
    # Of the pair of atoms in the job with two QPUs.
    assert re.search(r"^  01 +\d+  #+$", output, re.MULTILINE)
    session = re.search(r"dedicated session of at most (\d+) s, closed after", output)
    assert session, output
    # A session gets what is left of the time limit in examples/two_qpus.sh.
    assert 0 < int(session[1]) <= 600
    bell = r"\n  00 +\d+  #+\n  11 +\d+  #+$"
    assert len(re.findall(bell, output, re.MULTILINE)) == 2, output
    assert re.search(f"^register meas{bell}", output, re.MULTILINE)
    assert "jobs that are left on Direct Access: 0\n" in output
    assert "Licenses=qpu_ibm_sherbrooke:1 " in output
    assert re.search(r"^ibm_sherbrooke +\S+ +paused ", output, re.MULTILINE)
    assert re.search(r"^ +\d+ +PENDING +Licenses qpu_ibm_sherbrooke$", output, re.MULTILINE)
    assert re.search(r"COMPLETED; its output\nibm_sherbrooke\n", output)
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


def as_newcomer(kept: str, script: str) -> str:
    """Run a shell script after the exports that a kept demonstration tells; return its output."""
    exports = re.search(r"^export SLURM_CONF.*?^(?=sbatch)", kept, re.MULTILINE | re.DOTALL)
    assert exports, kept
    return output_of("bash", "-c", f"set -e\n{exports[0]}{script}")


def test_kept_demonstration_takes_jobs_of_the_newcomer(kept: str):
    as_newcomer(kept, "sbatch --output=sampler.out sampler.sh")
    output = folder_of(kept) / "examples" / "sampler.out"
    wait_until(
        lambda: output.exists() and re.search(r"^  00 +\d+  #+$", output.read_text(), re.MULTILINE),
        DEMO_SECONDS,
        "histogram",
    )
    wait_until_released(kept)
    logs = (folder_of(kept) / "cluster" / "log").glob("slurmd-*.log")
    assert any("worker of worker server" in log.read_text() for log in logs)


def test_kept_demonstration_releases_after_slurmstepd_was_killed(kept: str):
    script = "echo here; exec sleep 600"
    submit = f"sbatch --parsable --output=started --qpu=ibm_sherbrooke --wrap '{script}'"
    job_id = int(as_newcomer(kept, submit))
    output = folder_of(kept) / "examples" / "started"
    wait_until(lambda: output.exists() and output.read_text(), 60, "started job")
    assert len(open_sessions(kept)) == 1
    [stepd] = stepd_pids(folder_of(kept) / "cluster", job_id)

    end_processes([stepd, *children_of(stepd)])
    as_newcomer(kept, f"scancel {job_id}")

    wait_until_released(kept)


def wait_until_released(kept: str) -> None:
    wait_until(lambda: not open_sessions(kept), RELEASE_SECONDS, "release")


def open_sessions(kept: str) -> list[str]:
    """Return the ids of the sessions that nobody has closed at a demonstration's site."""
    match = re.search(r"site answers at (\S+),", kept)
    assert match, kept
    # A proxy of the machine is not meant for loopback.
    answer = httpx.get(f"{match[1]}/_simulator/state", trust_env=False)
    return [each["id"] for each in answer.json()["sessions"] if each["closed_at"] is None]
