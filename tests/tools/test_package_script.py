# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Debian package and an rpm say of a staged installation, and the spec to rpm."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from scripts import package
from scripts.package import Contents
from tests.tools.programs import ended, write_program

THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
UNIT = "usr/lib/systemd/system/any.timer"


@pytest.fixture
def contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Contents:
    stage = tmp_path / "stage"
    for name in ("etc/slurm/example", "usr/lib/spank_qrmi/1/bin/qrun", UNIT):
        (stage / name).parent.mkdir(parents=True)
        (stage / name).write_text("text")
    (stage / "usr/lib/spank_qrmi/1/bin/python").symlink_to("python3")
    (stage / "usr/lib/spank_qrmi/1/bin/python3").symlink_to("/usr/bin/python3.11")
    (stage / "usr/lib/spank_qrmi/current").symlink_to("1")
    monkeypatch.setattr(Contents, "glibc_release", lambda _: "2.34")
    return Contents(stage, "1.2", "22.05")


def test_debian_control_names_one_python_and_no_slurm(
    contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEBFULLNAME", raising=False)
    monkeypatch.setenv("DEBEMAIL", "site@example.org")
    text = "".join(package._control_fields(contents, "1.2+slurm22.05", "amd64"))
    fields = dict(line.split(": ", 1) for line in text.splitlines() if line[0] != " ")
    assert fields["Maintainer"] == "spank-qrmi <site@example.org>"
    assert fields["Version"] == "1.2+slurm22.05"
    assert fields["Depends"].split(", ") == [
        "libc6 (>= 2.34)",
        f"python3 (>= {THIS_PYTHON})",
        f"python3 (<< {contents.next_python_release}~)",
        "ca-certificates",
    ]
    relations = {"Breaks", "Conflicts", "Replaces", "Provides", "Pre-Depends", "Recommends"}
    assert not relations & {*fields}


def test_rpm_holds_every_file_and_no_folder_of_slurm_or_the_system(contents: Contents) -> None:
    """Or rpm would give a folder of the site's another owner and mode."""
    for name in ("usr/lib64/slurm/spank_qrmi.so", "usr/share/doc/spank-qrmi/copyright"):
        (contents.stage / name).parent.mkdir(parents=True)
        (contents.stage / name).write_text("text")
    assert [line.rstrip("\n") for line in package._file_list(contents)] == [
        '%dir "/usr/lib/spank_qrmi"',
        '%dir "/usr/lib/spank_qrmi/1"',
        '%dir "/usr/lib/spank_qrmi/1/bin"',
        '%dir "/usr/share/doc/spank-qrmi"',
        '%config(noreplace) "/etc/slurm/example"',
        '"/usr/lib/spank_qrmi/1/bin/python"',
        '"/usr/lib/spank_qrmi/1/bin/python3"',
        '"/usr/lib/spank_qrmi/1/bin/qrun"',
        '"/usr/lib/spank_qrmi/current"',
        f'"/{UNIT}"',
        '"/usr/lib64/slurm/spank_qrmi.so"',
        '"/usr/share/doc/spank-qrmi/copyright"',
    ]


SCRIPTS = package._deb_scripts("22.05") | package._rpm_scripts("22.05")


class Machine:
    """Where a script runs: what it calls is written down, and fails."""

    def __init__(self, folder: Path, *programs: str) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.told = ""
        for tool in ("ls", "rm", "rmdir"):
            self.add(tool, f'exec {shutil.which(tool)} "$@"')
        for program in programs:
            self.add(program, f'echo {program} "$@" >>{self.calls}\nexit 1')

    def add(self, program: str, text: str) -> None:
        write_program(self.folder / "bin" / program, text)

    def run(self, script: str, argument: str, status: int = 0) -> list[str]:
        """Return what the script has called; it must end with this status."""
        text = SCRIPTS[script].replace("/usr/sbin/", f"{self.folder}/bin/")
        for place, name in (
            ("/run/systemd/system", "systemd"),
            (package.STATE_FOLDER, "state"),
            (package.LOG_FOLDER, "log"),
            (package.SOCKET_FOLDER, "socket"),
        ):
            text = text.replace(place, str(self.folder / name))
        self.calls.write_text("")
        environment = {"PATH": str(self.folder / "bin")}
        done = ended("/bin/sh", "-e", "-c", text, "script", argument, env=environment)
        self.told = done.stderr
        assert done.returncode == status, self.told
        return self.calls.read_text().splitlines()


@pytest.fixture
def running(tmp_path: Path) -> Machine:
    """A machine that systemd has booted."""
    (tmp_path / "systemd").mkdir()
    return Machine(tmp_path, "systemctl", "deb-systemd-helper", "deb-systemd-invoke")


ENABLED = "systemctl is-enabled --quiet spank-qrmi.target"
RELOADED = "systemctl daemon-reload"
RENEWED = [
    RELOADED,
    "systemctl --no-block stop spank-qrmi-worker-server.service",
    "systemctl --no-block try-restart spank-qrmi-monitor.service",
]
CONFIGURED = [
    "deb-systemd-helper --quiet was-enabled spank-qrmi.target",
    "deb-systemd-helper update-state spank-qrmi.target",
    *RENEWED,
    "deb-systemd-invoke start spank-qrmi.target",
]
UNITS = sorted(each.name for each in (package.REPOSITORY / "systemd").iterdir())
STOPPED = f"systemctl stop {' '.join(UNITS)}"


@pytest.mark.parametrize(
    ("script", "argument", "calls"),
    [
        ("post", "1", ["systemctl --quiet enable spank-qrmi.target", *RENEWED, ENABLED]),
        ("post", "2", [*RENEWED, ENABLED]),
        ("preun", "0", [f"systemctl --quiet disable spank-qrmi.target {package.MONITOR}", STOPPED]),
        ("postun", "0", [RELOADED]),
        ("postun", "1", []),
        ("prerm", "remove", [f"systemctl --quiet disable {package.MONITOR}", STOPPED]),
        ("postrm", "remove", [f"deb-systemd-helper purge {package.TARGET}", RELOADED]),
        ("postrm", "upgrade", []),
        ("postinst", "configure", CONFIGURED),
    ],
)
def test_script_does_its_work_and_never_fails(
    running: Machine, script: str, argument: str, calls: list[str]
) -> None:
    assert running.run(script, argument) == calls


@pytest.mark.parametrize("script", ["post", "postinst"])
def test_target_that_is_enabled_is_started(running: Machine, script: str) -> None:
    for program in (running.folder / "bin").iterdir():
        program.write_text(program.read_text().replace("exit 1", "exit 0"))
    calls = running.run(script, "2")
    assert calls[-1].endswith(" start spank-qrmi.target")
    assert ("deb-systemd-helper enable spank-qrmi.target" in calls) is (script == "postinst")


@pytest.mark.parametrize("programs", [(), ("systemctl",)])
def test_script_needs_no_systemd(tmp_path: Path, programs: tuple[str, ...]) -> None:
    """In a container or a chroot the target is enabled for the time when it is booted."""
    machine = Machine(tmp_path, *programs)
    for script in SCRIPTS:
        for argument in ("configure", "remove", "upgrade", "0", "1", "2"):
            calls = machine.run(script, argument)
            assert all(call.split()[2] in ("enable", "disable") for call in calls), script


def test_slurm_of_another_release_is_told(tmp_path: Path) -> None:
    for program, found, is_told in (
        ("slurmd", "slurm 22.05.8", False),
        ("srun", "slurm 22.05.8", False),
        ("slurmd", "slurm 24.11.5-1", True),
        ("srun", "slurm-wlm 23.11.4", True),
        ("other", "", False),
    ):
        machine = Machine(tmp_path / f"{program}-{is_told}", "deb-systemd-helper")
        machine.add(program, f"echo {found}")
        text = f"spank-qrmi: its plugins are for Slurm 22.05 and do not load in {found}: "
        for script in ("post", "postinst"):
            machine.run(script, "configure")
            assert (text in machine.told, bool(machine.told)) == (is_told, is_told), found


@pytest.mark.parametrize(
    ("script", "argument", "later"), [("prerm", "remove", "upgrade"), ("preun", "0", "1")]
)
def test_removal_is_refused_before_anything_is_stopped_if_something_is_in_its_way(
    running: Machine, script: str, argument: str, later: str
) -> None:
    text = "spank-qrmi: job 7 holds ibm_torino: let the job end"
    running.add("spank-qrmi", f'echo "$@" >>{running.calls}\necho {text} >&2\nexit 1')
    (running.folder / "state").mkdir()
    assert running.run(script, argument, status=1) == ["uninstall --check"]
    assert running.told == f"{text}\nspank-qrmi: nothing was removed\n"
    # What no step holds is released before.
    (running.folder / "state" / "7-0-0-0.json").write_text("")
    assert running.run(script, argument, status=1) == ["release --orphaned", "uninstall --check"]
    # Nothing is in the way of an upgrade.
    assert running.run(script, later) == []
    # Nor is a command that cannot tell.
    for answer in ("exit 0", "echo ImportError: httpx >&2; exit 1", "exit 127"):
        running.add("spank-qrmi", answer)
        assert STOPPED in running.run(script, argument)


def test_no_script_touches_a_daemon_of_slurm() -> None:
    ours = f"try-restart {package.MONITOR}"
    for text in SCRIPTS.values():
        called = [line for line in text.splitlines() if "systemctl" in line or "-invoke" in line]
        called = [line.replace(ours, "") for line in called]
        assert not [line for line in called if re.search(r"slurm(d|ctld|dbd)|munge|restart", line)]


def test_folder_of_the_socket_goes_and_what_was_used_with_a_purge_alone(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    socket, log = tmp_path / "socket", tmp_path / "log"
    log.mkdir()
    (log / "usage.jsonl").write_text("{}")
    for script, argument in (("postrm", "remove"), ("postun", "0"), ("postrm", "purge")):
        socket.mkdir()
        # The second time, nothing is there, as where nobody has booted.
        for _ in range(2):
            machine.run(script, argument)
            assert (socket.exists(), log.exists()) == (False, argument != "purge")


def test_state_goes_if_nothing_is_held(tmp_path: Path) -> None:
    machine, state = Machine(tmp_path), tmp_path / "state"
    withheld, held = "reservations spank_qrmi_qpu_* hold", "QPUs that were not released"
    for left, told in (
        (("tokens/token", "users/1000", "counts/acquired-node1"), set()),
        (("monitor/lock",), {withheld}),
        (("tokens/token", "entry"), {held}),
    ):
        for name in left:
            (state / name).parent.mkdir(parents=True, exist_ok=True)
            (state / name).touch()
        machine.run("postrm", "purge")
        assert {text for text in (withheld, held) if text in machine.told} == told
        assert state.exists() is (held in told)


def ask_rpm(folder: Path, *options: str, **variables: str) -> str:
    """Return how rpm reads the spec."""
    if shutil.which("rpmspec") is None:
        pytest.skip("rpmspec is not installed")
    spec = folder / package.SPEC
    spec.write_text(package.spec("1.2"))
    words = ["rpmspec", "--define", f"_dbpath {folder}", *options, spec]
    done = ended(*words, env=os.environ | variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_spec_has_the_scripts() -> None:
    text = package.spec("1.2")
    for name, script in package._rpm_scripts("%{slurm_release}").items():
        assert f"\n%{name}\n{script}" in text
    assert "@" not in text.replace("$@", "")


def test_spec_is_for_the_slurm_of_the_headers(tmp_path: Path) -> None:
    header = tmp_path / "include" / "slurm" / "slurm_version.h"
    header.parent.mkdir(parents=True)
    header.write_text("#define SLURM_VERSION_NUMBER 0x180b05\n")
    folder = str(header.parents[1])
    given = ("--define", f"slurm_include_dirs {folder}")
    asked = ("-q", "--queryformat", "%{version}-%{release}")
    assert ask_rpm(tmp_path, *asked, *given) == "1.2-1.slurm24.11"
    folders = f"/no/such/folder:{folder}"
    assert ask_rpm(tmp_path, *asked, SLURM_INCLUDE_DIRS=folders) == "1.2-1.slurm24.11"
    assert "are for Slurm 24.11 and" in ask_rpm(tmp_path, "--parse", *given)
    # A source rpm is for every one.
    assert ask_rpm(tmp_path, *asked, "--define", "slurm_release %{nil}") == "1.2-1"
    assert ask_rpm(tmp_path, *asked, CC="no-such-compiler") == "1.2-1"


def test_spec_is_for_one_python_and_names_what_builds_and_no_slurm(tmp_path: Path) -> None:
    asked = ("--define", f"spank_python {sys.executable}", "-q", "--requires")
    requires = ask_rpm(tmp_path, *asked).splitlines()
    assert {f"python(abi) = {THIS_PYTHON}", sys.executable, "ca-certificates"} <= {*requires}
    for kind in ("requires", "buildrequires", "conflicts", "obsoletes", "provides"):
        listed = ask_rpm(tmp_path, "-q", f"--{kind}", "--define", "rhel 9").splitlines()
        assert [each for each in listed if "slurm" in each and "spank-qrmi" not in each] == []
    for system in ("rhel 9", "fedora 43", "suse_version 1600"):
        asked = ask_rpm(tmp_path, "-q", "--buildrequires", "--define", system).splitlines()
        assert {"gcc", "make", "/usr/bin/python3"} <= {*asked}
    # rpm does not know what dpkg has installed.
    assert ask_rpm(tmp_path, "-q", "--buildrequires") == ""


def test_documents_come_along_and_name_the_plugin_of_the_package(contents: Contents) -> None:
    page = contents.stage / "usr/share/man/man5/spank_qrmi.conf.5"
    page.parent.mkdir(parents=True)
    page.write_text("page")

    package.write_documents(contents, "/usr/lib/any/slurm-wlm")

    folder = contents.stage / "usr/share/doc/spank-qrmi"
    assert {
        *("README.md", "SECURITY.md", "changelog.gz", "copyright", "docs/install.md"),
        *("examples/sampler.sh", "examples/monitoring/alerts.yml", "examples/slurm/cli_filter.lua"),
    } <= {str(each.relative_to(folder)) for each in folder.rglob("*")}
    lines = re.findall(r"(?m)^ *optional (\S+)", (folder / "README.md").read_text())
    assert {str(Path(each).parent) for each in lines} == {"/usr/lib/any/slurm-wlm"}
    for path in folder.rglob("*.md"):
        text = path.read_text()
        assert "/usr/lib64/slurm/spank_" not in text
        links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
        assert [each for each in links if not (path.parent / each).is_file()] == []
    assert [each.name for each in page.parent.iterdir()] == ["spank_qrmi.conf.5.gz"]


def test_documents_do_not_have_the_modes_of_the_checkout(
    contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's umask would make another package, whose licence only root can read."""
    for name in ("LICENSE", "CHANGELOG.md", "README.md"):
        (tmp_path / name).write_text("text")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setattr(package, "REPOSITORY", tmp_path)
    package.write_documents(contents, "/usr/lib/any/slurm-wlm")
    folder = contents.stage / "usr/share/doc/spank-qrmi"
    assert {each.name: oct(each.stat().st_mode & 0o777) for each in folder.iterdir()} == (
        dict.fromkeys(("README.md", "changelog.gz", "copyright"), "0o644")
    )
