# SPDX-License-Identifier: GPL-3.0-or-later
"""`make deps` asks for what is missing, says so before, and touches no Slurm that is there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tools.programs import ended, write_program

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "scripts" / "install_missing.sh"
BUILDING = ["gcc", "libc6-dev", "libslurm-dev", "python3-dev", "python3-venv"]
CLUSTER = ["munge", "slurm-wlm", "slurmdbd"]
OPTIONS = "-qq -y --no-install-recommends --no-remove install"
FRESH = "Inst libslurm-dev (22.05.8 Debian:12 [amd64])"


class Machine:
    """A machine whose programs are in a folder of the test's: a Debian with nothing installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.calls.write_text("")
        for name in ("sh", "tr", "sed", "grep", "mktemp", "rm", "tail"):
            self.add(name, f'exec {shutil.which(name)} "$@"')
        self.add("id", "echo 0")
        self.add("python3", "exit 1")
        self.add("dpkg-query", "exit 1")
        self.have_apt(FRESH)

    def add(self, name: str, script: str = "exit 0", folder: str = "bin") -> None:
        write_program(self.folder / folder / name, script)

    def have_apt(self, plan: str, status: int = 0) -> None:
        """Let apt-get write down its calls, and plan this."""
        self.add(
            "apt-get",
            f'echo "$*" >>{self.calls}\n'
            f'case "$1" in -s) echo "{plan}"; exit {status} ;; esac\necho of apt-get',
        )

    def have_build_tools(self) -> None:
        """Have compiler, Python and all headers but Slurm's."""
        self.add("gcc", 'while read -r line; do case "$line" in *slurm*) exit 1 ;; esac; done')
        self.add("python3")

    def run(self, *packages: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": str(self.folder / "bin"),
            "PYTHON": str(self.folder / "bin" / "python3"),
            "SLURM_FOLDERS": str(self.folder / "opt"),
            "HEADER_FOLDERS": str(self.folder / "include"),
            "TMPDIR": str(self.folder),
        }
        return ended("/bin/sh", SCRIPT, *packages, env=environment | variables)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()

    def installed(self) -> list[str]:
        """Return what apt-get was told to install, and not only to plan."""
        return [call for call in self.called() if call.startswith(OPTIONS)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_is_missing_is_said_with_its_purpose_and_installed(machine: Machine) -> None:
    done = machine.run(*BUILDING, *CLUSTER)
    assert (done.returncode, done.stderr) == (0, "")
    words = " ".join([*BUILDING, *CLUSTER])
    assert machine.called() == ["update -qq", f"-s {OPTIONS} {words}", f"{OPTIONS} {words}"]
    title, *lines, update, install = done.stdout.splitlines()
    assert title == "installing with apt-get, which is to remove nothing:"
    assert update == "reading the lists of packages"
    assert install == "fetching and installing, with what they depend on (packages: 1)"
    assert [line.split(":")[0].strip() for line in lines] == [*BUILDING, *CLUSTER]
    assert "wanted here" not in done.stdout
    assert not list(machine.folder.glob("spank-qrmi-apt-*"))


def test_what_is_there_from_elsewhere_is_not_asked_for(machine: Machine) -> None:
    machine.have_build_tools()
    assert machine.run(*BUILDING).returncode == 0
    assert machine.installed() == [f"{OPTIONS} libslurm-dev"]
    # Headers anywhere are enough, also on a machine of another distribution.
    for name in ("apt-get", "dpkg-query"):
        (machine.folder / "bin" / name).unlink()
    header = machine.folder / "headers" / "slurm" / "spank.h"
    header.parent.mkdir(parents=True)
    header.write_text("")
    done = machine.run(*BUILDING, SLURM_INCLUDE_DIRS=f"/no/such/folder:{header.parents[1]}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("program", ["slurmctld", "slurmd", "munged", "srun"])
@pytest.mark.parametrize("folder", ["bin", "opt"])
def test_no_slurm_package_is_asked_for_where_slurm_is(
    machine: Machine, program: str, folder: str
) -> None:
    machine.have_build_tools()
    machine.add(program, folder=folder)
    done = machine.run(*BUILDING, *CLUSTER)
    assert (done.returncode, machine.called()) == (1, [])
    assert f"Slurm is here already ({machine.folder / folder / program})" in done.stderr
    assert "  libslurm-dev: Slurm's headers (slurm/spank.h), for the plugins" in done.stderr
    # Others are, beside it.
    assert machine.run("valgrind").returncode == 0
    assert machine.installed() == [f"{OPTIONS} valgrind"]


def test_what_apt_plans_with_others_is_refused_or_said_before(machine: Machine) -> None:
    machine.have_apt("Packages need to be removed but remove is disabled.", status=100)
    done = machine.run("libslurm-dev")
    assert (done.returncode, machine.installed()) == (1, [])
    assert done.stderr.endswith("without removing others: nothing was changed\n")
    # No other version of Slurm is put in its place.
    for package in ("slurm-wlm-basic-plugins", "libslurm38", "munge"):
        machine.have_apt(f"Inst {package} [22.05.7] (22.05.8 Debian:12 [amd64])\n{FRESH}")
        done = machine.run("libslurm-dev")
        assert (done.returncode, machine.installed()) == (1, [])
        assert package in done.stderr
    machine.have_apt(f"Inst libc6 [2.36-8] (2.36-9 Debian:12 [amd64])\n{FRESH}")
    done = machine.run("libc6-dev")
    assert done.returncode == 0
    assert "  put in newer versions for it: libc6" in done.stdout


def test_who_cannot_install_is_told_what(machine: Machine) -> None:
    machine.add("id", "echo 1000")
    done = machine.run("rpm")
    assert (done.returncode, machine.called()) == (1, [])
    assert done.stderr == "error: only root can: apt-get install --no-remove rpm\n"
    (machine.folder / "bin" / "apt-get").unlink()
    named, purpose = machine.run("rpm").stderr.splitlines()
    assert (named[-23:], purpose) == ("it as this system does:", "  rpm: rpmbuild, for the rpm")


def test_log_of_apt_is_named_where_it_fails(machine: Machine) -> None:
    machine.add(
        "apt-get",
        f'case "$*" in update*) ;; -s*) echo "{FRESH}" ;; '
        "*) for i in 1 2 3 4 5 6 7 8 9 10; do echo out $i; echo err $i >&2; echo; done; "
        "exit 100 ;; esac",
    )
    done = machine.run("rpm")
    assert (done.returncode, "out" in done.stdout) == (1, False)
    *shown, named = done.stderr.splitlines()
    [log] = machine.folder.glob("spank-qrmi-apt-*")
    written = log.read_text().splitlines()
    assert (len(written), shown) == (30, written[-20:])
    assert named == f"error: apt-get failed; all of it is in {log}"
    assert "out 9" in machine.run("rpm", VERBOSE="1").stdout


def packages_of(target: str) -> list[str]:
    """Return what a target of the Makefile has installed."""
    done = ended("make", "--dry-run", "--no-print-directory", target, cwd=REPOSITORY)
    [line] = re.findall(r"install_missing\.sh(.*)", done.stdout)
    return line.split()


def test_what_builds_needs_slurms_headers_and_what_runs_a_cluster_all_of_it_at_once() -> None:
    for target in ("deps", "deb", "rpm", "test-simulator", "fuzz"):
        packages = packages_of(target)
        assert packages[: len(BUILDING)] == BUILDING, target
        assert not {*packages} & {*CLUSTER}, target
    for target in ("test", "test-tools", "demo", "soak", "bench"):
        assert {*packages_of(target)} >= {*CLUSTER}, target


def test_only_one_place_installs_packages_of_the_system() -> None:
    """And only in the roots of tests, which are nobody's, without that care."""
    text = (REPOSITORY / "Makefile").read_text()
    assert "apt-get install -" not in text
    installs = re.compile(r"apt-get (-\S+ )*install -|apt-get .*\$options")
    scripts = [
        each for kind in ("py", "sh") for each in (REPOSITORY / "scripts").rglob(f"*.{kind}")
    ]
    found = [path.name for path in scripts if installs.search(path.read_text())]
    assert sorted(found) == ["install_missing.sh", "root.py"]
