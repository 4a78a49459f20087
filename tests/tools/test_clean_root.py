# SPDX-License-Identifier: GPL-3.0-or-later
"""What a clean root takes over from the machine, and how commands run inside of it."""

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest
from clean_root import inside, root
from clean_root.archives import DEBIAN
from clean_root.machine import apt_mirror, apt_settings, copy_from_machine
from clean_root.root import Root, RootError

from tests.tools.programs import write_program


def test_files_of_the_machine_replace_links_that_lead_out_of_the_root(tmp_path: Path) -> None:
    source, outside, system = tmp_path / "source", tmp_path / "outside", tmp_path / "system"
    source.write_text("new")
    outside.write_text("old")
    copied, resolver = system / source.relative_to("/"), system / "etc" / "resolv.conf"
    for link in (copied, resolver):
        link.parent.mkdir(parents=True)
        link.symlink_to(outside)

    copy_from_machine(str(source.relative_to("/")), system)
    inside.write_host_files(system)
    assert (outside.read_text(), copied.read_text()) == ("old", "new")
    assert resolver.read_text() == Path("/etc/resolv.conf").read_text()
    source.unlink()
    copy_from_machine(str(source.relative_to("/")), system)
    assert not copied.exists()


def test_proxies_of_apt_and_a_mirror_that_a_root_can_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    # Of a machine without apt.
    assert (apt_mirror("Debian"), apt_settings()) == (None, "")
    proxy = 'Acquire::http::Proxy "http://user:word@proxy.test";'
    write_program(tmp_path / "apt-config", f"echo '{proxy}'\necho 'DPkg::Pre-Invoke:: \"x\";'")
    assert apt_settings() == f"{proxy}\n"
    other = "Other stable http://other.test/x"
    for address, mirror in (
        ("http://mirror.test/debian/", "http://mirror.test/debian/"),
        ("mirror+file:/etc/apt/mirrors.txt", None),
        ("file:/srv/debian", None),
    ):
        write_program(tmp_path / "apt-get", f"echo '{other}\nDebian bookworm {address}'")
        assert (apt_mirror("Debian"), apt_mirror("Ubuntu")) == (mirror, None), address


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

    inside.run_inside(tmp_path, ["true"], show=[Path("/opt")], variables={"NAME": "value"})
    inside.run_apart(["true"], log=tmp_path / "logs" / "log")

    for words, environment in started:
        assert not any("user:word" in word for word in words)
        assert environment["https_proxy"] == address
        assert environment["NO_PROXY"] == "a"
        assert not {"PIP_CERT", "SECRET"} & {*environment}
    assert started[0][1]["NAME"] == "value"


def test_root_that_is_not_whole_has_no_system(
    started: list[tuple[list[str], dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    unmade = Root("trixie", DEBIAN, tmp_path / "root", ())
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
