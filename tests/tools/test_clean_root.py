# SPDX-License-Identifier: GPL-3.0-or-later
"""What a clean root takes over from the machine, and how commands run inside of it."""

import dataclasses
import os
import platform
import subprocess
from pathlib import Path

import pytest
from clean_root import inside, root
from clean_root.archives import DEBIAN, UBUNTU, ArchiveError, own_release
from clean_root.inside import run_apart, run_inside
from clean_root.machine import apt_mirror, apt_settings, copy_from_machine
from clean_root.root import Root, RootError

from tests.tools.programs import write_program


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder in which programs are found."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def test_mirror_is_that_of_the_distribution(programs: Path) -> None:
    listed = "Other stable http://other.test/x\nDebian bookworm http://mirror.test/debian/\n"
    write_program(programs / "apt-get", f"printf '{listed}'")
    assert apt_mirror("Debian") == "http://mirror.test/debian/"
    assert apt_mirror("Ubuntu") is None
    # What a root cannot reach.
    for address in ("mirror+file:/etc/apt/mirrors.txt", "file:/srv/debian"):
        write_program(programs / "apt-get", f"echo Debian bookworm {address}")
        assert apt_mirror("Debian") is None, address


def test_proxies_of_apt_and_nothing_else_of_its_settings(programs: Path) -> None:
    # Nor of a machine without apt.
    assert apt_settings() == ""
    proxy = 'Acquire::http::Proxy "http://user:word@proxy.test";'
    write_program(programs / "apt-config", f"echo '{proxy}'\necho 'DPkg::Pre-Invoke:: \"x\";'")
    assert apt_settings() == f"{proxy}\n"


@pytest.mark.parametrize("described", [{"ID": "other", "VERSION_CODENAME": "x"}, {"ID": "debian"}])
def test_own_release_that_is_not_known(
    monkeypatch: pytest.MonkeyPatch, described: dict[str, str]
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: described)
    with pytest.raises(ArchiveError, match=f"of a known release: {described['ID']}"):
        own_release()


def test_file_of_the_machine_replaces_a_link(tmp_path: Path) -> None:
    source, outside = tmp_path / "machine" / "file", tmp_path / "outside"
    source.parent.mkdir()
    source.write_text("new")
    outside.write_text("old")
    system = tmp_path / "system"
    name = str(source.relative_to("/"))
    (system / name).parent.mkdir(parents=True)
    (system / name).symlink_to(outside)

    copy_from_machine(name, system)
    assert (outside.read_text(), (system / name).read_text()) == ("old", "new")
    source.unlink()
    copy_from_machine(name, system)
    assert not (system / name).exists()


def test_host_files_replace_links(tmp_path: Path) -> None:
    (tmp_path / "system" / "etc").mkdir(parents=True)
    (tmp_path / "outside").write_text("old")
    link = tmp_path / "system" / "etc" / "resolv.conf"
    link.symlink_to(tmp_path / "outside")
    inside.write_host_files(tmp_path / "system")
    assert (tmp_path / "outside").read_text() == "old"
    assert link.read_text() == Path("/etc/resolv.conf").read_text()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """Words and environment of the commands that are started, which all fail."""
    commands = []

    def run(
        words: list[str], *, env: dict[str, str], **_: object
    ) -> subprocess.CompletedProcess[str]:
        commands.append((words, env))
        return subprocess.CompletedProcess(words, 1)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_proxy_password_is_in_the_environment_and_on_no_command_line(
    started: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address = "http://user:word@proxy.test"
    monkeypatch.setattr(
        os, "environ", {"https_proxy": address, "NO_PROXY": "a", "PIP_CERT": "b", "SECRET": "c"}
    )
    (tmp_path / "etc").mkdir()

    run_inside(tmp_path, ["true"], show=[Path("/opt")], variables={"NAME": "value"})
    run_apart(["true"], log=tmp_path / "logs" / "log")

    for words, environment in started:
        assert not any("user:word" in word for word in words)
        assert environment["https_proxy"] == address
        assert environment["NO_PROXY"] == "a"
        assert not {"PIP_CERT", "SECRET"} & {*environment}
    assert started[0][1]["NAME"] == "value"


@pytest.fixture
def unmade(tmp_path: Path) -> Root:
    return Root("trixie", DEBIAN, tmp_path / "root", ())


def test_root_without_debootstrap(programs: Path, unmade: Root) -> None:
    with pytest.raises(RootError, match="debootstrap is missing: apt-get install debootstrap"):
        unmade.make(unmade.folder / "log")
    assert not unmade.folder.exists()


def test_distribution_without_a_mirror_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UBUNTU_MIRROR", raising=False)
    monkeypatch.setattr("clean_root.archives.apt_mirror", lambda _: None)
    with pytest.raises(ArchiveError, match="no mirror of Ubuntu: name one in UBUNTU_MIRROR"):
        _ = UBUNTU.mirror


def test_root_that_is_not_whole_has_no_system(
    started: list[tuple[list[str], dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    unmade: Root,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(root.shutil, "which", lambda _: "/any")
    monkeypatch.setattr(root, "DEBOOTSTRAP", tmp_path)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "trixie").touch()
    monkeypatch.setattr(type(DEBIAN), "trusted_keys", lambda *_: Path("/keys"))
    monkeypatch.setenv("DEBIAN_MIRROR", "http://mirror.test/debian")
    with pytest.raises(RootError, match="debootstrap trixie failed: see "):
        unmade.make(unmade.folder / "log")
    assert not unmade.system.exists()
    [(words, _)] = started
    assert words[-2:] == [str(unmade.folder / "partial"), "http://mirror.test/debian"]

    monkeypatch.setattr(Root, "copy_to", lambda *_: None)
    monkeypatch.setattr(inside, "write_host_files", lambda _: None)
    copied = dataclasses.replace(unmade, base=unmade, packages=("dbus",))
    with pytest.raises(RootError, match="apt-get in a root of trixie failed: see "):
        copied.make(unmade.folder / "log")
    assert not unmade.system.exists()
    assert started[1][0][-1] == "dbus"
