# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Debian package and an rpm say of a staged installation."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import package
from scripts.package import Contents

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


def test_slurm_releases_end_before_the_next_month() -> None:
    following = {"22.05": "22.06", "24.11": "24.12", "26.05": "26.06"}
    contents = {release: Contents(Path("/"), "1", release) for release in following}
    assert {release: each.next_slurm_release for release, each in contents.items()} == following


def test_debian_control_names_one_slurm_and_one_python(
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
        "slurmd (>= 22.05) | slurm-client (>= 22.05)",
        "slurmd (<< 22.06~) | slurm-client (<< 22.06~)",
        "ca-certificates",
    ]


def test_spec_names_every_file_and_the_folders_that_are_its_own(contents: Contents) -> None:
    lines = "".join(package._spec_lines(contents)).splitlines()
    requires = [line.removeprefix("Requires: ") for line in lines if line.startswith("Requires")]
    assert requires == [
        "libc.so.6(GLIBC_2.34)(64bit)",
        f"python(abi) = {THIS_PYTHON}",
        "/usr/bin/python3.11",
        "slurm >= 22.05",
        "slurm < 22.06",
        "ca-certificates",
    ]
    assert lines[lines.index("%files") + 2 :] == [
        '%dir "/etc/slurm"',
        '%dir "/usr/lib/spank_qrmi"',
        '%dir "/usr/lib/spank_qrmi/1"',
        '%dir "/usr/lib/spank_qrmi/1/bin"',
        '%config(noreplace) "/etc/slurm/example"',
        '"/usr/lib/spank_qrmi/1/bin/python"',
        '"/usr/lib/spank_qrmi/1/bin/python3"',
        '"/usr/lib/spank_qrmi/1/bin/qrun"',
        '"/usr/lib/spank_qrmi/current"',
        f'"/{UNIT}"',
    ]


def test_scripts_are_sound_and_enable_nothing(contents: Contents) -> None:
    scripts = package._deb_scripts(contents)
    assert sorted(scripts) == ["postinst", "postrm", "prerm"]
    for script in scripts.values():
        subprocess.run(["sh", "-n", "-c", script], check=True)
        assert "enable " not in script.replace("disable ", "")
    assert "systemctl disable --now any.timer" in scripts["prerm"]


def test_package_without_units_has_no_scripts_for_them(contents: Contents) -> None:
    (contents.stage / UNIT).unlink()
    assert sorted(package._deb_scripts(contents)) == ["postrm"]
    assert "%post\n" not in "".join(package._spec_lines(contents))


@pytest.mark.parametrize(("is_held", "remains"), [(False, False), (True, True)])
def test_record_goes_if_nothing_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_held: bool, remains: bool
) -> None:
    state = tmp_path / "state"
    (state / "tokens").mkdir(parents=True)
    (state / "tokens" / "token").write_text("")
    if is_held:
        (state / "entry").write_text("")
    monkeypatch.setattr(package, "STATE_FOLDER", str(state))
    done = subprocess.run(
        ["sh", "-e", "-c", package._forget_state()], check=True, capture_output=True, text=True
    )
    assert state.exists() is remains
    assert ("QPUs that were not released" in done.stderr) is remains
