# SPDX-License-Identifier: GPL-3.0-or-later
"""No installation takes a Python that is too old, or that an ordinary user could replace."""

import grp
import os
import pwd
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from check_python import trouble_with_paths, trouble_with_version

from spank_qrmi.trust import paths as trusted_paths
from spank_qrmi.trust.paths import foreign_writer, steps_to
from tests.tools.programs import ended

PROJECT = Path(__file__).parents[2]
NOGROUP = grp.getgrgid(65534).gr_name
FOLDER, SHARED, LINK = stat.S_IFDIR | 0o755, stat.S_IFDIR | 0o2775, stat.S_IFLNK | 0o777


def status(mode: int = FOLDER, user: int = 0, group: int = 0) -> SimpleNamespace:
    """Return what lstat says; by default a folder of root's own that is closed."""
    return SimpleNamespace(st_mode=mode, st_uid=user, st_gid=group)


def test_version_that_is_too_old() -> None:
    for version in ((3, 10), (3, 14), (4, 0)):
        assert trouble_with_version(version) == "", version
    for version in ((2, 7), (3, 6), (3, 9)):
        found = ".".join(map(str, version))
        assert trouble_with_version(version) == (
            f"Python {found} is too old: the worker needs 3.10 or later; "
            "choose another one: make PYTHON=/path/to/python3"
        ), version


def test_path_that_others_may_change_is_named_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known: dict[str, SimpleNamespace] = {}
    monkeypatch.setattr(trusted_paths, "lstat", lambda path: known.get(path, status()))
    paths = [Path("/usr/bin/python3"), Path("/opt/python/bin/python3"), Path("/usr/lib/python3")]
    for path, described, writer in (
        ("/opt/python/bin/python3", status(user=4000000), "user 4000000"),
        ("/opt/python/bin", status(user=65534), f"user {pwd.getpwuid(65534).pw_name}"),
        ("/opt/python/bin", status(stat.S_IFDIR | 0o757), "everybody (mode 0757)"),
        # Who is in it is not listed.
        ("/opt/python", status(SHARED, group=65534), f"group {NOGROUP} (mode 2775)"),
        ("/opt/python/bin/python3", status(0o775, group=4000000), "group 4000000 (mode 0775)"),
        ("/opt", status(stat.S_IFDIR | 0o1777, user=4000000), "user 4000000"),
        # Everybody keeps his own there.
        ("/opt", status(stat.S_IFDIR | 0o1777), ""),
        # Of root's group.
        ("/opt", status(SHARED), ""),
        ("/opt/elsewhere", status(user=4000000), ""),
    ):
        known.clear()
        known[path] = described
        told = (
            f"{path} may be changed by {writer}, and the worker runs as root; "
            "choose another one: make PYTHON=/path/to/python3"
        )
        assert trouble_with_paths(*paths) == (told if writer else ""), (path, described)
    # Every link has this mode.
    of_link = [foreign_writer(status(LINK, user)) for user in (0, 4000000)]
    assert of_link == ["", "user 4000000"]


def test_steps_are_those_of_links_too_and_come_to_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real" / "bin").mkdir(parents=True)
    (tmp_path / "real" / "bin" / "python3").touch()
    (tmp_path / "python").symlink_to("real")
    (tmp_path / "link").symlink_to(tmp_path / "python" / "bin" / "python3")
    (tmp_path / "here").symlink_to("there")
    (tmp_path / "there").symlink_to("here")
    for path, names in (
        ("link", ("link", "python", "python/bin/python3", "real")),
        ("here", ("here", "there")),
    ):
        steps = steps_to(str(tmp_path / path))
        assert {"/", str(tmp_path), *(str(tmp_path / name) for name in names)} <= {*steps}
    # An absolute path needs no current folder.
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert [*steps_to("/")] == ["/"]


def test_links_out_of_folders_that_were_looked_at_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "trusted").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "module").touch()
    (tmp_path / "python" / "link").symlink_to("../other/module")

    def said(path: str) -> SimpleNamespace:
        mode = Path(path).lstat().st_mode & ~(stat.S_IWGRP | stat.S_IWOTH)
        return status(mode, user=4000000 if Path(path).name == "other" else 0)

    monkeypatch.setattr(trusted_paths, "lstat", said)
    paths = [tmp_path / "python" / "trusted", tmp_path / "python" / "link"]
    assert "other may be changed by user 4000000" in trouble_with_paths(*paths)
    assert trouble_with_paths(*paths[:1]) == ""


def test_python_that_others_could_replace_installs_nothing_and_may_take_away(
    tmp_path: Path,
) -> None:
    python, root = tmp_path / "bin" / "python3", tmp_path / "root"
    python.parent.mkdir()
    python.parent.chmod(0o777)
    python.symlink_to("/usr/bin/python3")
    script = (
        *(python, PROJECT / "scripts" / "install_environment.py"),
        *("--destdir", root, "--environment", "/opt/spank_qrmi"),
        *("--plugindir", "/opt", "--sysconfdir", "/etc", "--prefix", "/usr"),
        *("--wheel", "any.whl", "--pip", python),
    )
    environment = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}
    make = [
        ("make", target, f"PYTHON={python}", f"DESTDIR={root}")
        for target in ("install", "deb", "rpm")
    ]
    for words in [*make, (*script, "install")]:
        done = ended(*words, cwd=PROJECT, env=environment)
        assert (done.returncode != 0, done.stdout, root.exists()) == (True, "", False), words
        told = done.stderr.splitlines()[0]
        assert told.startswith(f"error: {python}: {tmp_path}")
        assert "may be changed by" in told
        assert told.endswith("as root; choose another one: make PYTHON=/path/to/python3")
    nothing = f"error: nothing is installed in {root}/opt/spank_qrmi\n"
    assert ended(*script, "uninstall").stderr == nothing
