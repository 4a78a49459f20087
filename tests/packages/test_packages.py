# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian package and the rpm on a clean root: installed, used, removed without a trace."""

import gzip
import re
import shutil
import subprocess
from pathlib import Path

from spank_qrmi import __version__
from tests.packages.conftest import LOG, Machine

REPOSITORY = Path(__file__).parents[2]
STATE = "var/lib/spank_qrmi"
GOOD = {
    "state": "COMPLETED",
    "output": "ibm_torino,ibm_sherbrooke\n",
    "sessions": 1,
    "not right": [],
    "help": True,
}
CONFFILES = {
    "etc/logrotate.d/spank-qrmi",
    "etc/slurm/plugstack.conf.d/spank_qrmi.conf.example",
    "etc/slurm/qrmi_config.json.example",
}


def assert_documents_name_the_plugins(machine: Machine) -> None:
    texts = [
        *(machine.root / "usr/share/doc/spank-qrmi").rglob("*.md"),
        *machine.root.glob("usr/share/man/man*/*qrmi*.gz"),
        *machine.root.glob("etc/slurm/plugstack.conf.d/spank_qrmi*"),
    ]
    assert {"README.md", "SECURITY.md", "spank_qrmi.conf.5.gz", "qrmi_config.json.5.gz"} <= {
        each.name for each in texts
    }
    line = re.compile(r"(?m)^ *#?(?:optional|required) (/\S+\.so)")
    loaded = {path for each in texts for path in line.findall(text_of(each))}
    assert len(loaded) == 2
    assert [path for path in loaded if not (machine.root / path[1:]).is_file()] == []


def text_of(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


def test_deb_comes_works_and_goes(machine: Machine, deb: Path):
    before = machine.files()

    machine.run("apt-get", "install", "-y", "--no-install-recommends", str(deb))
    installed = machine.files()
    assert machine.run("spank-qrmi", "--version") == f"{__version__}\n"
    assert machine.run("qrun", "--version").split()[-1] == __version__
    assert machine.run("dpkg", "--verify", "spank-qrmi") == ""
    # Debian's plugstack.conf includes all of these.
    assert list(machine.root.glob("etc/slurm/plugstack.conf.d/*.conf")) == []
    units = {each.name for each in (REPOSITORY / "systemd").iterdir()}
    assert {each.name for each in machine.root.glob("usr/lib/systemd/system/spank-qrmi*")} == units
    # systemd does not run there, but it will when a node is booted from such a root.
    assert "etc/systemd/system/multi-user.target.wants/spank-qrmi.target" in installed
    assert_documents_name_the_plugins(machine)
    assert machine.run_qpu_job() == GOOD
    # A job leaves nothing but the empty record of what the node holds, access tokens, counts, and
    # what it has used.
    left = {*machine.files()} - {*installed}
    folders = {STATE, f"{STATE}/tokens", f"{STATE}/counts", LOG}
    inside = folders - {STATE}
    assert {name for name in left if str(Path(name).parent) not in inside} == folders

    machine.run("apt-get", "remove", "-y", "spank-qrmi")
    left = {*machine.files()} - {*before}
    assert left >= CONFFILES
    left = {name for name in left if not name.startswith(f"{STATE}/")}
    left -= {LOG, f"{LOG}/usage.jsonl"}
    assert left - CONFFILES <= {"etc/logrotate.d", "etc/slurm/plugstack.conf.d", STATE}
    machine.run("apt-get", "purge", "-y", "spank-qrmi")
    assert machine.files() == before


def test_removal_is_refused_while_a_line_loads_the_plugin(machine: Machine, deb: Path, rpm: Path):
    """Slurm's commands read it, and some would fail without the plugin."""
    example = machine.root / "etc/slurm/plugstack.conf.d/spank_qrmi.conf.example"
    line = example.with_suffix("")
    for come, go in (
        (("dpkg", "--install", str(deb)), ("dpkg", "--purge", "spank-qrmi")),
        (("rpm", "--install", "--nodeps", str(rpm)), ("rpm", "--erase", "spank-qrmi")),
    ):
        machine.run(*come)
        shutil.copy(example, line)
        said = machine.run("sh", "-c", '"$@" 2>&1 && exit 9 || exit 0', "sh", *go)
        assert f"spank-qrmi: /{line.relative_to(machine.root)}:" in said
        assert machine.run("spank-qrmi", "--version") == f"{__version__}\n"
        line.unlink()
        machine.run(*go)
        assert not (machine.root / "usr/sbin/spank-qrmi").exists()


def test_rpm_comes_works_and_goes(machine: Machine, rpm: Path):
    before = machine.files()

    # This root's packages are Debian's, which rpm does not know.
    machine.run("rpm", "--install", "--nodeps", str(rpm))
    assert machine.run("rpm", "--verify", "--nodeps", "spank-qrmi") == ""
    assert_documents_name_the_plugins(machine)
    assert machine.run_qpu_job() == GOOD
    machine.run("rpm", "--erase", "spank-qrmi")

    after = machine.files()
    # Slurm has made it wherever rpm is used.
    after.pop("usr/lib64/slurm")
    # What was used is told after the plugins are gone too.
    after.pop(LOG)
    after.pop(f"{LOG}/usage.jsonl")
    assert after == before


def test_packages_are_for_one_release_of_slurm_and_of_python(deb: Path, rpm: Path):
    slurm = deb.name.partition("+slurm")[2].partition("_")[0]
    python = ".".join(_output("/usr/bin/python3", "--version").split()[1].split(".")[:2])
    depends = _output("dpkg-deb", "--field", deb, "Depends").strip().split(", ")
    requires = _output("rpm", "-qp", "--requires", rpm).splitlines()

    assert f" {slurm}." in _output("slurmd", "-V")
    assert f"python3 (>= {python})" in depends
    assert f"python(abi) = {python}" in requires
    named = [each for each in [*depends, *requires] if "slurm" in each]
    assert [each for each in named if not each.startswith("config(spank-qrmi) = ")] == []
    assert f"1.slurm{slurm}" in rpm.name


def test_both_packages_hold_the_same(deb: Path, rpm: Path):
    listing = _output("sh", "-c", 'dpkg-deb --fsys-tarfile "$1" | tar t', "sh", deb)
    names = {name.removeprefix(".") for name in listing.split() if name[-1] != "/"}
    folders = ("/usr/lib/x86_64-linux-gnu/slurm-wlm/", "/usr/lib64/slurm/")
    moved = {name.replace(*folders) for name in names}

    folders_of_rpm = set(_output("rpm", "-qp", "--dump", rpm).splitlines())
    files = {line.split()[0] for line in folders_of_rpm if not line.split()[4].startswith("04")}
    assert moved == files


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
