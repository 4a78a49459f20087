# SPDX-License-Identifier: GPL-3.0-or-later
"""`spank-qrmi qpus`: what any user sees of the published catalog."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from spank_qrmi.admin import qpus
from spank_qrmi.admin.command import main
from spank_qrmi.catalog.documents import catalog_of
from spank_qrmi.catalog.entries import Catalog, CatalogEntry
from spank_qrmi.catalog.files import publish
from spank_qrmi.status import QpuState
from tests.unit.catalog.sample import entry

NOW = 1_700_000_000
USER = 1000


class Folder:
    """A folder with the catalog that plugstack.conf names, and the command on it."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capsys = capsys
        self.plugstack = path.with_name("plugstack.conf")
        self.plugstack.write_text(f"optional spank_qrmi.so --catalog={path}\n")

    def publish(self, *entries: CatalogEntry, is_old: bool = False) -> None:
        publish(Catalog(NOW - 10, NOW - 1 if is_old else NOW, entries), self.path)

    def run(self, *arguments: str) -> tuple[int, list[str], list[str]]:
        """Run the command; return its exit status, and both outputs' lines."""
        status = main(["qpus", *arguments])
        printed = self._capsys.readouterr()
        return status, printed.out.splitlines(), printed.err.splitlines()


@pytest.fixture
def folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Folder:
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    (tmp_path / "slurm.conf").touch()
    monkeypatch.setattr(qpus.time, "time", lambda: NOW)
    monkeypatch.setattr(qpus.os, "getuid", lambda: USER)
    path = tmp_path / "catalog"
    path.mkdir()
    return Folder(path, capsys)


OFFLINE = entry("qb", QpuState.OFFLINE, reason="sick")


def test_names_choose_and_the_exit_status_tells_whether_they_are_online(folder: Folder) -> None:
    folder.publish(entry(), OFFLINE)
    statuses = {(): 0, ("qa",): 0, ("qa", "qa"): 0, ("qb",): 1, ("qa", "qb"): 1, ("qc",): 1}
    assert {names: folder.run(*names)[0] for names in statuses} == statuses
    assert {names: folder.run("--json", *names)[0] for names in statuses} == statuses
    status, lines, told = folder.run("qa", "qab", "none\x1b")
    assert (status, [line.split()[0] for line in lines]) == (1, ["NAME", "qa"])
    assert told == [
        "spank-qrmi: no QPU is called qab: is it qa?",
        "spank-qrmi: no QPU is called none?",
    ]
    status, lines, told = folder.run("--json", "qb")
    assert (status, told) == (1, [])
    assert catalog_of("\n".join(lines).encode(), "it") == Catalog(NOW - 10, NOW, (OFFLINE,))


def test_who_may_use_it_goes_by_user_and_groups(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qpus.os, "getegid", lambda: 70)
    monkeypatch.setattr(qpus.os, "getgroups", lambda: [71])
    entries = [entry("qa", gids=(70,)), entry("qb", gids=(71,)), entry("qc", uids=(USER,))]
    folder.publish(*entries, entry("qd", uids=(USER + 1,), gids=(72,)))
    lines = folder.run()[1]
    assert [line.split()[0] for line in lines if line.endswith("not for you")] == ["qd"]


def test_old_catalog_is_said_to_be_old_and_nothing_of_it_is_sure(folder: Folder) -> None:
    folder.publish(entry(), is_old=True)
    status, lines, told = folder.run("qa")
    assert (status, told) == (1, [])
    assert lines[-1].startswith("this catalog is old: it is of 10 s ago")
    status, _, told = folder.run("--json")
    assert status == 0
    assert told[0].startswith("spank-qrmi: this catalog is old: ")


def test_catalog_of_the_line_that_counts_is_shown_and_without_it_the_status_is_2(
    folder: Folder,
) -> None:
    folder.publish(entry())
    for line in (
        f"/etc/q.json --catalog=/none --on-failure=continue --catalog={folder.path}",
        f"--catalog=/none\noptional spank_qrmi.so /etc/q.json --catalog={folder.path}",
    ):
        folder.plugstack.write_text(f"optional spank_qrmi.so {line}\n")
        assert folder.run("qa")[0] == 0, line
    place = "spank_qrmi.so in plugstack.conf"
    absolute = "--catalog must be an absolute path, got 'x'"
    for line, expected in {
        "": f"no catalog: the line of {place} has no --catalog=DIR; name a folder or file by "
        "--catalog",
        "optional spank_qrmi.so --catalog=x": f"{absolute}: correct the line of {place}",
        "optional spank_qrmi.so --catalog=/none": f"/none: cannot be read: {os.strerror(2)}",
    }.items():
        folder.plugstack.write_text(f"{line}\n")
        assert folder.run() == (2, [], [f"spank-qrmi: {expected}"]), line


def test_colours_are_for_terminals_whose_user_wants_them(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.publish(entry())
    for is_terminal, no_colour in ((True, ""), (True, "1"), (False, "")):
        monkeypatch.setattr(sys.stdout, "isatty", lambda found=is_terminal: found)
        monkeypatch.setenv("NO_COLOR", no_colour)
        has_colours = "\x1b[32m" in "".join(folder.run()[1])
        assert has_colours == (is_terminal and not no_colour), (is_terminal, no_colour)


def test_watching_shows_each_change_until_it_is_ended(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.publish(entry())
    changes = [replace(OFFLINE, name="qc"), OFFLINE]

    def sleep(_: float) -> None:
        if not changes:
            raise KeyboardInterrupt
        folder.publish(changes.pop())

    monkeypatch.setattr(qpus.time, "sleep", sleep)
    status, lines, _ = folder.run("--watch")
    assert status == 0
    assert [line.split()[0] for line in lines if line] == ["NAME", "qa", "NAME", "qb", "NAME", "qc"]


def test_command_is_an_ordinary_users_and_imports_nothing_that_asks(open_folder: Path) -> None:
    open_folder.chmod(0o755)
    now = int(time.time())
    publish(Catalog(now, now + 3600, (entry(),)), open_folder)
    program = (
        "import os, sys\nfrom spank_qrmi.admin.command import main\n"
        "os.setgroups([])\n"
        "os.setresgid(65534, 65534, 65534)\nos.setresuid(65534, 65534, 65534)\n"
        f"status = main(['qpus', 'qa', '--catalog={open_folder}'])\n"
        "print(status, [each for each in ('httpx', 'ssl') if each in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stdout.splitlines()[-1:], done.stderr) == (["0 []"], "")


def test_reader_who_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    now = int(time.time())
    publish(Catalog(now, now + 3600, (entry(),)), tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "spank_qrmi", "qpus", f"--catalog={tmp_path}"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
